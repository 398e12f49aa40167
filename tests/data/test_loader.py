"""Packed rows. A stand-in tokenizer makes every token tell which document it is from and where it stood there."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles import tiny_tokenizer
from fuzzed import strings
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.data.loader import STREAMS, RowLoader, validation_rows
from nanochat.data.passes import Position, documents
from nanochat.errors import DamagedError, UsageError
from nanochat.tokenizer.special import SPECIAL_TOKENS

BOS = 0
STRIDE = 10_000


class TellingTokenizer:
    """The text "7:3" is three tokens of document 7: 70001, 70002, 70003."""

    bos = BOS

    def encode_column(self, data: np.ndarray, offsets: np.ndarray, num_threads: int) -> tuple[np.ndarray, np.ndarray]:
        encoded: list[int] = []
        ends = [0]
        for start, end in itertools.pairwise(offsets.tolist()):
            text = data[start:end].tobytes().decode()
            document, length = map(int, text.split(":")) if text else (0, 0)
            encoded += [document * STRIDE + 1 + j for j in range(length)]
            ends.append(len(encoded))
        return np.array(encoded, np.uint32), np.array(ends)


def shards_of(folder: Path, lengths: list[int], per_shard: int = 40, group: int = 7) -> tuple[Path, ...]:
    texts = [f"{number + 1}:{length}" if length else "" for number, length in enumerate(lengths)]
    paths = []
    for number, at in enumerate(range(0, len(texts), per_shard)):
        paths.append(folder / f"shard_{number:05d}.parquet")
        pq.write_table(pa.table({"text": texts[at : at + per_shard]}), paths[-1], row_group_size=group)
    return tuple(paths)


def varied(count: int, longest: int = 90) -> list[int]:
    return [1 + (number * 37) % longest for number in range(count)]


def loader_of(shards: tuple[Path, ...], length: int = 32, **options: Any) -> RowLoader:
    return RowLoader(shards, TellingTokenizer(), length, **{"buffer": 40, "seed": 3, **options})  # type: ignore[arg-type]


def pieces(rows: np.ndarray) -> list[list[int]]:
    """Rows cut before each bos."""
    found: list[list[int]] = []
    for row in rows.tolist():
        for token in row:
            if token == BOS:
                found.append([])
            else:
                found[-1].append(token)
    return found


def test_rows_are_full_and_open_with_bos(tmp_path: Path) -> None:
    rows = loader_of(shards_of(tmp_path, varied(100))).rows(60)
    assert rows.shape == (60, 33)
    assert rows.dtype == np.int64
    assert (rows[:, 0] == BOS).all()


def test_a_piece_is_of_one_document_and_in_order(tmp_path: Path) -> None:
    for piece in pieces(loader_of(shards_of(tmp_path, varied(100))).rows(60)):
        assert piece == list(range(piece[0], piece[0] + len(piece))) if piece else True


def places(shards: tuple[Path, ...], seed: int | None) -> Iterator[tuple[Position, int]]:
    """Where every document is, and which it is."""
    for at, texts in documents(shards, seed=seed):
        for row in range(len(texts)):
            text = texts.part(row, row + 1).data.tobytes().decode()
            yield replace(at, row=at.row + row), int(text.split(":")[0]) if text else 0


def conserved(loader: RowLoader, lengths: list[int], shards: tuple[Path, ...], rows: int, seed: int | None = 3) -> None:
    """Every token read so far has been given out or is waiting, none twice."""
    given_out = Counter(token for piece in pieces(loader.rows(rows)) for token in piece)
    state = loader.state()
    following = next(documents(shards, Position(*state["next"][0]), seed))[0]
    read: Counter[int] = Counter()
    numbers = {}
    for at, number in places(shards, seed):
        if at == following:
            break
        numbers[at] = number
        read.update(number * STRIDE + 1 + j for j in range(lengths[number - 1] if number else 0))
    waiting: Counter[int] = Counter()
    for *at, offset in itertools.chain.from_iterable(state["streams"]):
        number = numbers[Position(*at)]
        waiting.update(number * STRIDE + 1 + j for j in range(offset, lengths[number - 1]))
    assert given_out + waiting == read


@pytest.mark.parametrize("rows", [1, 30, 500])
@pytest.mark.parametrize("seed", [None, 3])
def test_no_token_is_lost(tmp_path: Path, rows: int, seed: int | None) -> None:
    lengths = varied(300)
    shards = shards_of(tmp_path, lengths)
    conserved(loader_of(shards, seed=seed), lengths, shards, rows, seed)


def test_a_document_of_many_rows_comes_whole_and_in_one_row_of_eight(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [1000] * 10)
    rows = loader_of(shards, buffer=1).rows(40 * STREAMS)
    for stream in range(STREAMS):
        told = [token for piece in pieces(rows[stream::STREAMS]) for token in piece]
        document = told[0] // STRIDE
        assert told[:1000] == [document * STRIDE + 1 + j for j in range(1000)]


@pytest.mark.parametrize("tails", ["keep", "drop"])
def test_tails_are_kept_or_dropped(tmp_path: Path, tails: str) -> None:
    shards = shards_of(tmp_path, varied(300))
    found = [piece for piece in pieces(loader_of(shards, tails=tails).rows(400)) if piece]
    continued = [piece for piece in found if piece[0] % STRIDE != 1]
    assert bool(continued) == (tails == "keep")


def test_no_document_waits_for_ever(tmp_path: Path) -> None:
    """Every row opens with what has waited longest: a buffer's worth of rows is the longest that anything waits."""
    waiting = 15
    rows = loader_of(shards_of(tmp_path, varied(3000), per_shard=3000), buffer=waiting * STREAMS, seed=None).rows(1600)
    seen: set[int] = set()
    for row in rows:
        seen |= {piece[0] // STRIDE for piece in pieces(row[None]) if piece}
        # documents that came six buffers before the newest one seen have been seen too
        assert set(range(1, max(seen) - 6 * waiting * STREAMS)) <= seen
    assert max(seen) > 1000


class SlowLoader:
    """The rules of packing in lists: (tokens left, oldest first)."""

    def __init__(self, lengths: list[int], row_len: int, buffer: int) -> None:
        self.endless = itertools.cycle((number, length) for number, length in enumerate(lengths) if length)
        self.row_len, self.limit = row_len, max(1, buffer // STREAMS)
        self.streams: list[list[list[int]]] = [[] for _ in range(STREAMS)]
        self.made = 0

    def row(self) -> list[int]:
        held = self.streams[self.made % STREAMS]
        self.made += 1
        row: list[int] = []
        while len(row) < self.row_len:
            while len(held) < self.limit:
                number, length = next(self.endless)
                held.append([BOS, *((number + 1) * STRIDE + 1 + j for j in range(length))])
            room = self.row_len - len(row)
            if room == 1:
                return [*row, BOS]
            ids = held[0] if not row else self._choice(held, room)
            del held[next(i for i, other in enumerate(held) if other is ids)]
            row += ids[:room]
            if len(ids) > room:
                held.append([BOS, *ids[room:]])
        return row

    def _choice(self, held: list[list[int]], room: int) -> list[int]:
        fitting = sorted((ids for ids in held if len(ids) <= room), key=len, reverse=True)
        for ids in fitting:
            if len(ids) == room:
                return ids
        for ids in fitting:
            if any(len(ids) + len(other) == room for other in fitting if other is not ids):
                return ids
        if fitting:
            return fitting[0]
        short = [ids for ids in held if len(ids) <= self.row_len]
        return min(short, key=len) if short else held[0]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=60).filter(any),
    length=st.integers(1, 30),
    buffer=st.integers(1, 200),
)
def test_against_the_slow_twin(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], length: int, buffer: int
) -> None:
    shards = shards_of(tmp_path_factory.mktemp("twin"), lengths)
    slow = SlowLoader(lengths, length + 1, buffer)
    fast = loader_of(shards, length, buffer=buffer, seed=None)
    assert fast.rows(60).tolist() == [slow.row() for _ in range(60)]


@pytest.mark.parametrize("cut", [0, 1, 2, 7, 19, 40, 64])
def test_resume_gives_exactly_the_next_rows(tmp_path: Path, cut: int) -> None:
    shards = shards_of(tmp_path, varied(50))  # 90 rows take several passes
    whole = loader_of(shards).rows(90)
    first = loader_of(shards)
    first.rows(cut)
    state = json.loads(json.dumps(first.state()))
    second = loader_of(shards, state=state)
    assert second.state() == state
    assert np.array_equal(second.rows(90 - cut), whole[cut:])
    assert second.epoch >= 1


@pytest.mark.parametrize("keep", [range(0), range(0, 12), range(12, 24), range(5, 6)])
def test_rows_may_be_passed_over(tmp_path: Path, keep: range) -> None:
    """They are packed as if: what a process keeps does not depend on what the others keep."""
    shards = shards_of(tmp_path, varied(50))
    alone, loader = loader_of(shards), loader_of(shards)
    for _ in range(5):
        whole = alone.rows(24)
        assert np.array_equal(loader.rows(24, keep), whole[keep.start : keep.stop])
        assert loader.state() == alone.state()


def test_rows_do_not_depend_on_how_many_are_asked_for(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, varied(50))
    whole = loader_of(shards).rows(48)
    for size in (1, 3, 16):
        loader = loader_of(shards)
        assert np.array_equal(np.concatenate([loader.rows(size) for _ in range(48 // size)]), whole)


@pytest.mark.parametrize("keep", [None, range(2, 3)])
def test_rows_know_the_row_groups_they_are_from(tmp_path: Path, keep: range | None) -> None:
    """Told once; those of rows that are passed over too, so that every process can name what went into a step."""
    shards = shards_of(tmp_path, varied(200), per_shard=40, group=7)
    loader, alone = loader_of(shards), loader_of(shards)
    for _ in range(5):
        loader.rows(8, keep)
        rows = alone.rows(8)
        numbers = {int(token) // STRIDE - 1 for token in rows[rows != BOS]}
        expected = {(shards[number // 40], number % 40 // 7) for number in numbers}
        found = loader.take_places()
        assert set(found) == expected
        assert list(found) == sorted(found)
        assert loader.take_places() == ()


def test_the_order_depends_on_the_seed_and_the_pass(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, varied(300))
    one, same, other, unshuffled = (loader_of(shards, seed=seed).rows(40) for seed in (1, 1, 2, None))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, unshuffled)


def test_resume_of_a_resume(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, varied(50))
    whole = loader_of(shards).rows(30)
    state = None
    for number in range(30):
        loader = loader_of(shards, state=state)
        assert np.array_equal(loader.rows(1)[0], whole[number])
        state = loader.state()


def test_real_tokenizer_and_text(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    texts = [f"Document {number}: " + "äöü word " * (number % 9) for number in range(50)]
    path = tmp_path / "shard_00000.parquet"
    pq.write_table(pa.table({"text": texts}), path)
    rows = RowLoader((path,), tokenizer, 63, buffer=10).rows(20)
    everything = b"|".join(text.encode() for text in texts)
    for row in rows.tolist():
        assert row[0] == tokenizer.bos
        for piece in tokenizer.decode_bytes(row).split(b"<|bos|>"):
            assert piece in everything


def test_damage_names_the_file(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, varied(100))
    shards[1].write_bytes(b"PAR1 no")
    with pytest.raises(DamagedError, match=shards[1].name):
        loader_of(shards).rows(50)


@pytest.mark.parametrize(
    ("row", "said"), [(1, "row 0 of row group 0, document 1"), (300, "row 256 of row group 0, document 44")]
)
def test_text_that_is_not_utf8_names_the_file_and_the_place(tmp_path: Path, row: int, said: str) -> None:
    path = tmp_path / "shard_00000.parquet"
    texts = pa.array([*[b"good"] * row, b"bad \xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), path)
    with pytest.raises(DamagedError, match=rf"shard_00000.parquet .* {said} is not UTF-8 at byte 4"):
        RowLoader((path,), tiny_tokenizer(), 15).rows(400)


def test_a_shard_that_shrank_since_the_checkpoint_is_named(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, varied(50))
    loader = loader_of(shards)
    loader.rows(3)
    shards_of(tmp_path, varied(50), group=2)
    with pytest.raises(DamagedError, match="has lost documents"):
        loader_of(shards, state=loader.state())


def test_no_document_holds_a_special_token(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    texts = ["".join(SPECIAL_TOKENS), *strings(300, 3)]
    texts = [text.encode(errors="replace").decode() for text in texts]
    path = tmp_path / "shard_00000.parquet"
    pq.write_table(pa.table({"text": texts}), path)
    rows = RowLoader((path,), tokenizer, 31, buffer=10).rows(200)
    assert set(rows[rows >= tokenizer.bos].tolist()) == {tokenizer.bos}


def test_reading_is_done_on_another_thread(tmp_path: Path) -> None:
    seen = set()

    class Watching(TellingTokenizer):
        def encode_column(self, *column: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
            seen.add(threading.current_thread().name)
            return super().encode_column(*column, **options)

    tokenizer: Any = Watching()
    loader = RowLoader(shards_of(tmp_path, varied(300)), tokenizer, 32, buffer=20)
    assert not seen  # nothing is read before it is needed
    loader.rows(50)
    assert len(seen) == 1
    assert threading.current_thread().name not in seen


def test_a_loader_that_is_gone_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    loader = loader_of(shards_of(tmp_path, varied(300)))
    loader.rows(5)
    (thread,) = set(threading.enumerate()) - before
    del loader
    thread.join(30)
    assert not thread.is_alive()


def test_empty_documents_are_passed_over(tmp_path: Path) -> None:
    lengths = [0, 5, 0, 0, 9] * 20
    shards = shards_of(tmp_path, lengths)
    conserved(loader_of(shards), lengths, shards, 30)


@pytest.mark.timeout(20)
def test_nothing_but_empty_documents(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only empty documents"):
        loader_of(shards_of(tmp_path, [0] * 400)).rows(1)


def test_validation_is_the_same_every_time_and_at_most_one_pass(tmp_path: Path) -> None:
    (shard,) = shards_of(tmp_path, varied(300), per_shard=300)
    first, second = (list(validation_of(shard, 32 * 10)) for _ in range(2))
    assert len(first) == 10
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert len(list(validation_of(shard, 32 * 10 - 1))) == 10
    assert list(validation_of(shard, 0)) == []


def validation_of(shard: Path, tokens: int) -> Iterator[np.ndarray]:
    tokenizer: Any = TellingTokenizer()
    return validation_rows(shard, tokenizer, 32, tokens)


@pytest.mark.parametrize("count", [1, 5, 20, 127, 128, 129, 500])
def test_validation_is_a_whole_pass_however_small_the_shard(tmp_path: Path, count: int) -> None:
    lengths = varied(count)
    (shard,) = shards_of(tmp_path, lengths, per_shard=count)
    rows = np.concatenate(list(validation_of(shard, 10**9)))
    told = Counter(token for piece in pieces(rows) for token in piece)
    everything = {(number + 1) * STRIDE + 1 + j for number, length in enumerate(lengths) for j in range(length)}
    assert set(told) <= everything
    if sum(lengths) > 32:
        assert max(told.values()) == 1
        assert sum(lengths) - len(told) <= 32


@pytest.mark.parametrize("length", [1, 7, 31])
def test_a_validation_shard_of_less_than_a_row_is_repeated(tmp_path: Path, length: int) -> None:
    (shard,) = shards_of(tmp_path, [length])
    (row,) = validation_of(shard, 10**9)
    assert {tuple(piece) for piece in pieces(row)[:-1]} == {tuple(STRIDE + 1 + j for j in range(length))}


@pytest.mark.timeout(20)
def test_validation_without_text(tmp_path: Path) -> None:
    (shard,) = shards_of(tmp_path, [0] * 30)
    with pytest.raises(UsageError, match="only empty documents"):
        list(validation_of(shard, 100))
