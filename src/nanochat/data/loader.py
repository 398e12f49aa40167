"""Batches for pretraining: documents, tokenized and packed into rows of T+1 ids.

Every document opens with bos. A document that does not fit goes on in a later row, again opening with bos. The state
is a few hundred small numbers: where each buffered piece stands in the data, not its tokens.

Documents are read and tokenized ahead, on a thread of their own, and packed when rows are asked for: so the state
knows of what was taken from that thread only, and what was read ahead is simply read again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nanochat.data.ahead import Ahead
from nanochat.data.packing import BestFitBuffer
from nanochat.data.shards import Position, Texts, documents, not_readable, read_texts
from nanochat.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from nanochat.tokenizer.tokenizer import Ids

Rows = npt.NDArray[np.int64]

BUFFER_DOCUMENTS = 1000
REFILL_DOCUMENTS = 128


class _Piece:
    """Tokens of a document from `offset` on, without bos."""

    __slots__ = ("at", "ids", "offset")

    def __init__(self, at: Position, offset: int, ids: Ids) -> None:
        self.at = at
        self.offset = offset
        self.ids = ids


_Lot = tuple[list[_Piece], Position]  # the documents of a refill that have tokens, and where the next refill begins


class RowLoader:
    """An endless supply of packed rows.

    Args:
        shards: parquet files in order.
        tokenizer: turns documents into ids.
        sequence_len: T; rows hold T+1 ids so that inputs and targets can overlap.
        state: where to go on, from `state()`.
        buffer: how many documents to choose from.

    Raises:
        DamagedError: a shard that cannot be read, also by `rows`.
        UsageError: a data set without text, by `rows`.
    """

    def __init__(
        self,
        shards: tuple[Path, ...],
        tokenizer: Tokenizer,
        sequence_len: int,
        *,
        state: dict[str, Any] | None = None,
        buffer: int = BUFFER_DOCUMENTS,
    ) -> None:
        self._bos = tokenizer.bos
        self._row_len = sequence_len + 1
        self._buffer_size = buffer
        self._buffer: BestFitBuffer[_Piece] = BestFitBuffer()
        self._next = Position()
        if state:
            self._next = Position(*state["next"])
            for piece in _read_again(shards, tokenizer, state["buffer"]):
                self._add(piece)
        self._lots = Ahead(_lots(shards, tokenizer, self._next))

    def rows(self, count: int) -> Rows:
        """The next `count` rows, (count, T+1) int64."""
        rows = np.empty((count, self._row_len), np.int64)
        for row in rows:
            self._fill(row)
        return rows

    def state(self) -> dict[str, Any]:
        """What `__init__` needs to go on with exactly the next row; plain JSON values."""
        pieces = self._buffer.items()
        return {
            "next": [self._next.epoch, self._next.shard, self._next.group, self._next.row],
            "buffer": [[p.at.epoch, p.at.shard, p.at.group, p.at.row, p.offset] for p in pieces],
        }

    @property
    def epoch(self) -> int:
        """Passes over the data begun before this one."""
        return self._next.epoch

    def _fill(self, row: npt.NDArray[np.int64]) -> None:
        used = 0
        while (room := self._row_len - used) > 0:
            while len(self._buffer) < self._buffer_size:
                self._refill()
            piece = self._buffer.take_largest(room) or self._buffer.take_shortest()
            kept = piece.ids[: room - 1]  # one place is for bos
            row[used] = self._bos
            row[used + 1 : used + 1 + len(kept)] = kept
            used += 1 + len(kept)
            self._add(_Piece(piece.at, piece.offset + len(kept), piece.ids[len(kept) :]))

    def _refill(self) -> None:
        pieces, self._next = next(self._lots)
        for piece in pieces:
            self._add(piece)

    def _add(self, piece: _Piece) -> None:
        if len(piece.ids):
            self._buffer.add(1 + len(piece.ids), piece)


def _lots(shards: tuple[Path, ...], tokenizer: Tokenizer, start: Position) -> Iterator[_Lot]:
    """Documents from `start` on in lots of `REFILL_DOCUMENTS`, empty ones counted."""
    pieces: list[_Piece] = []
    seen = 0
    for at, texts in documents(shards, start):
        done = 0
        while done < len(texts):
            stop = min(done + REFILL_DOCUMENTS - seen, len(texts))
            for number, ids in enumerate(_encoded(tokenizer, shards[at.shard], texts.part(done, stop)), at.row + done):
                if len(ids):
                    pieces.append(_Piece(Position(at.epoch, at.shard, at.group, number), 0, ids))
            seen, done = seen + stop - done, stop
            if seen == REFILL_DOCUMENTS:
                yield pieces, Position(at.epoch, at.shard, at.group, at.row + done)
                pieces, seen = [], 0


def _read_again(shards: tuple[Path, ...], tokenizer: Tokenizer, pieces: list[list[int]]) -> Iterator[_Piece]:
    """The buffered pieces of a state, oldest first. Every row group is read once."""
    wanted: dict[tuple[int, int], set[int]] = defaultdict(set)
    for _, shard, group, row, _ in pieces:
        wanted[shard, group].add(row)
    found: dict[tuple[int, int, int], Ids] = {}
    for (shard, group), rows in wanted.items():
        texts = read_texts(shards[shard], group)
        if max(rows) >= len(texts):
            raise not_readable(shards[shard], f"row group {group} has lost documents since the checkpoint")
        for row in rows:
            found[shard, group, row] = _encoded(tokenizer, shards[shard], texts.part(row, row + 1))[0]
    for epoch, shard, group, row, offset in pieces:
        yield _Piece(Position(epoch, shard, group, row), offset, found[shard, group, row][offset:])


def _encoded(tokenizer: Tokenizer, path: Path, texts: Texts) -> list[Ids]:
    """The ids of each document, in memory of its own. One thread: the others train."""
    try:
        ids, offsets = tokenizer.encode_column(texts.data, texts.offsets, num_threads=1)
    except ValueError as error:
        raise not_readable(path, str(error)) from error
    return [document.copy() for document in np.split(ids, offsets[1:-1])]


def validation_rows(shard: Path, tokenizer: Tokenizer, sequence_len: int, tokens: int) -> Iterator[Rows]:
    """The same rows at every validation: packed from the validation shard in order, (1, T+1) each.

    Args:
        shard: the validation file.
        tokenizer: turns documents into ids.
        sequence_len: T.
        tokens: how many targets at least; one pass over the shard at most.
    """
    loader = RowLoader((shard,), tokenizer, sequence_len, buffer=REFILL_DOCUMENTS)
    done = 0
    while done < tokens and not (done and loader.epoch > 0):
        yield loader.rows(1)
        done += sequence_len
