"""Packed rows. A stand-in tokenizer makes every token tell which document it is from and where it stood there."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator
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

from nanochat.data.loader import REFILL_DOCUMENTS, RowLoader, validation_rows
from nanochat.data.shards import Position, documents
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
    return RowLoader(shards, TellingTokenizer(), length, **{"buffer": 20, **options})  # type: ignore[arg-type]


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


def places(shards: tuple[Path, ...]) -> Iterator[tuple[int, int, int]]:
    for at, texts in documents(shards):
        for row in range(len(texts)):
            yield at.shard, at.group, at.row + row


def conserved(loader: RowLoader, lengths: list[int], shards: tuple[Path, ...], rows: int) -> None:
    """Every token read so far has been given out or is waiting, none twice."""
    given_out = Counter(token for piece in pieces(loader.rows(rows)) for token in piece)
    state = loader.state()
    waiting: Counter[int] = Counter()
    numbers = {place: number for number, place in zip(range(len(lengths)), places(shards), strict=False)}
    for _, shard, group, row, offset in state["buffer"]:
        number = numbers[shard, group, row]
        waiting.update((number + 1) * STRIDE + 1 + j for j in range(offset, lengths[number]))
    _, shard, group, row = state["next"]
    following, _ = next(documents(shards, Position(*state["next"])))
    read_in_last_epoch = numbers[following.shard, following.group, following.row]
    read: Counter[int] = Counter()
    for number, length in enumerate(lengths):
        times = following.epoch + (number < read_in_last_epoch)
        for j in range(length):
            read[(number + 1) * STRIDE + 1 + j] = times
    assert given_out + waiting == +read


@pytest.mark.parametrize("rows", [1, 30, 500])
def test_no_token_is_lost(tmp_path: Path, rows: int) -> None:
    lengths = varied(300)
    shards = shards_of(tmp_path, lengths)
    conserved(loader_of(shards), lengths, shards, rows)


def test_a_document_of_many_rows_comes_whole(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, [1000] * 3)
    emitted: dict[int, list[int]] = {}
    # by then every document has begun, and the first one to end has been given out whole
    for piece in pieces(loader_of(shards, buffer=1).rows(33)):
        for token in piece:
            emitted.setdefault(token // STRIDE, []).append(token % STRIDE)
    assert list(range(1, 1001)) in [tokens[:1000] for tokens in emitted.values()]


class SlowLoader:
    """The rules of packing in lists: (tokens left, oldest first)."""

    def __init__(self, lengths: list[int], row_len: int, buffer: int) -> None:
        self.endless = itertools.cycle(enumerate(lengths))
        self.row_len, self.limit = row_len, buffer
        self.held: list[list[int]] = []

    def row(self) -> list[int]:
        row: list[int] = []
        while len(row) < self.row_len:
            while len(self.held) < self.limit:
                for number, length in itertools.islice(self.endless, REFILL_DOCUMENTS):
                    if length:
                        self.held.append([BOS, *((number + 1) * STRIDE + 1 + j for j in range(length))])
            room = self.row_len - len(row)
            fitting = [ids for ids in self.held if len(ids) <= room]
            if fitting:
                best = max(fitting, key=len)
                self._remove(best)
                row += best
            else:
                shortest = min(self.held, key=len)
                self._remove(shortest)
                row += shortest[:room]
                self.held.append([BOS, *shortest[room:]])
        return row

    def _remove(self, ids: list[int]) -> None:
        del self.held[next(i for i, other in enumerate(self.held) if other is ids)]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=60).filter(any),
    length=st.integers(1, 30),
    buffer=st.integers(1, 40),
)
def test_against_the_slow_twin(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], length: int, buffer: int
) -> None:
    shards = shards_of(tmp_path_factory.mktemp("twin"), lengths)
    slow = SlowLoader(lengths, length + 1, buffer)
    fast = loader_of(shards, length, buffer=buffer)
    assert fast.rows(12).tolist() == [slow.row() for _ in range(12)]


@pytest.mark.parametrize("cut", [1, 2, 7, 19, 40, 64])
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


def test_text_that_is_not_utf8_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shard_00000.parquet"
    texts = pa.array([b"good", b"bad \xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": texts}), path)
    with pytest.raises(DamagedError, match=r"shard_00000.parquet .* document 1 is not UTF-8 at byte 4"):
        RowLoader((path,), tiny_tokenizer(), 15, buffer=1).rows(1)


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
    tokenizer: Any = TellingTokenizer()
    first, second = (list(validation_rows(shard, tokenizer, 32, 32 * 10)) for _ in range(2))
    assert len(first) == 10
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    everything = list(validation_rows(shard, tokenizer, 32, 10**9))
    assert len(everything) * 33 <= sum(varied(300)) * 2
    assert list(validation_rows(shard, tokenizer, 32, 0)) == []
