"""Documents as ids: in order, with their places, in bounded parts, and read again from their places."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doubles import tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.data import pieces
from nanochat.data.loader import RowLoader
from nanochat.data.passes import Position, one_pass
from nanochat.data.pieces import Piece, Pieces, read_again

TOKENIZER = tiny_tokenizer()  # ids are bytes


def shard_of(folder: Path, texts: list[str], group: int = 3) -> Path:
    path = folder / "shard_00000.parquet"
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, row_group_size=group)
    return path


def read(path: Path, start: Position | None = None) -> list[Piece]:
    return list(Pieces(one_pass((path,), start=start), (path,), TOKENIZER))


def bytes_of(piece: Piece) -> bytes:
    return piece.ids.astype(np.uint8).tobytes()


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(st.sampled_from("ab \näß한🙂"), max_size=120), min_size=1, max_size=9).filter(any))
def test_parts_make_the_documents_again(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = shard_of(tmp_path_factory.mktemp("parts"), texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PART_BYTES", 20)
        patch.setattr(pieces, "LOT_DOCUMENTS", 2)
        found = read(path)
        documents: dict[tuple[int, int], bytes] = {}
        for piece in found:
            assert 0 < len(piece.ids) <= 20
            assert bytes_of(piece).decode()  # no character is cut in two
            whole = documents.setdefault((piece.at.group, piece.at.row), b"")
            assert len(whole) == piece.at.byte
            documents[piece.at.group, piece.at.row] = whole + bytes_of(piece)
        expected = {divmod(number, 3): text.encode() for number, text in enumerate(texts) if text}
        assert documents == expected
        again = read_again((path,), TOKENIZER, [piece.place() for piece in reversed(found)])
        assert [bytes_of(piece) for piece in again] == [bytes_of(piece) for piece in reversed(found)]
        for cut, piece in enumerate(found):
            if cut % 5 == 0:
                assert [bytes_of(rest) for rest in read(path, piece.at)] == [bytes_of(rest) for rest in found[cut:]]


def test_next_is_where_the_next_piece_begins(tmp_path: Path) -> None:
    path = shard_of(tmp_path, ["one", "", "two", "", "three", ""])
    source = Pieces(one_pass((path,)), (path,), TOKENIZER)
    assert source.next is None
    assert [bytes_of(next(source)), source.next] == [b"one", Position(row=2)]
    assert [bytes_of(next(source)), source.next] == [b"two", Position(row=3)]
    assert [bytes_of(next(source)), source.next] == [b"three", Position(group=1, row=3)]
    with pytest.raises(StopIteration):
        next(source)


def test_a_part_ends_with_a_line_or_before_a_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pieces, "PART_BYTES", 20)
    path = shard_of(tmp_path, ["a line of words\nand one more line", "some words and still more", "x" * 50])
    found = [bytes_of(piece).decode() for piece in read(path)]
    assert found == [
        *("a line of words\n", "and one more line"),
        *("some words and still", " more"),
        *("x" * 20, "x" * 20, "x" * 10),
    ]


def test_what_is_left_of_a_piece_does_not_hold_the_whole() -> None:
    piece = Piece(Position(), 0, np.arange(1000, dtype=np.uint32))
    rest = piece.after(400).after(500)
    assert (rest.offset, rest.ids.tolist()) == (900, list(range(900, 1000)))
    assert rest.ids.base is None


class Counting:
    """One token a byte; remembers the longest text it was given."""

    bos = 256

    def __init__(self) -> None:
        self.longest = 0

    def encode_column(self, data: np.ndarray, offsets: np.ndarray, num_threads: int) -> tuple[np.ndarray, np.ndarray]:
        self.longest = max(self.longest, len(data))
        return data[offsets[0] : offsets[-1]].astype(np.uint32), offsets - offsets[0]


@pytest.mark.parametrize("text", ["word " * 8_000_000, "x" * 40_000_000], ids=["words", "one word"])
def test_a_document_of_40_megabytes(tmp_path: Path, text: str) -> None:
    size = len(text)
    path = shard_of(tmp_path, ["short", text, "short"])
    del text
    tokenizer: Any = Counting()
    tracemalloc.start()
    try:
        loader = RowLoader((path,), tokenizer, 511)
        for _ in range(100):
            loader.rows(64)
        state = loader.state()
        following = loader.rows(8)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert tokenizer.longest <= pieces.PART_BYTES
    # the row group itself is Arrow's; of its ids, 4 bytes each, no more than a few times the buffer's are held
    assert peak < 2 * size
    assert np.array_equal(RowLoader((path,), tokenizer, 511, state=state).rows(8), following)
