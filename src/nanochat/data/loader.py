"""Batches for pretraining: documents, tokenized and packed into rows of T+1 ids.

Every document opens with bos. A document that does not fit goes on in a later row, again opening with bos. The state
is a few hundred small numbers: where each buffered piece stands in the data, not its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from nanochat.data.packing import BestFitBuffer
from nanochat.data.shards import Position, documents, read_group
from nanochat.tokenizer.tokenizer import Tokenizer

Rows = npt.NDArray[np.int64]

BUFFER_DOCUMENTS = 1000
REFILL_DOCUMENTS = 128


class _Piece:
    """Tokens of a document from `offset` on; `ids` opens with bos."""

    __slots__ = ("at", "ids", "offset")

    def __init__(self, at: Position, offset: int, ids: list[int]) -> None:
        self.at = at
        self.offset = offset
        self.ids = ids


class RowLoader:
    """An endless supply of packed rows.

    Args:
        shards: parquet files in order.
        tokenizer: turns documents into ids.
        sequence_len: T; rows hold T+1 ids so that inputs and targets can overlap.
        state: where to go on, from `state()`.
        buffer: how many documents to choose from.
    """

    def __init__(
        self,
        shards: tuple[Any, ...],
        tokenizer: Tokenizer,
        sequence_len: int,
        *,
        state: dict[str, Any] | None = None,
        buffer: int = BUFFER_DOCUMENTS,
    ) -> None:
        self._shards = shards
        self._tokenizer = tokenizer
        self._row_len = sequence_len + 1
        self._buffer_size = buffer
        self._buffer: BestFitBuffer[_Piece] = BestFitBuffer()
        start = Position()
        if state:
            start = Position(*state["next"])
            for epoch, shard, group, row, offset in state["buffer"]:
                at = Position(epoch, shard, group, row)
                ids = self._encode([read_group(shards[shard], group)[row]])[0]
                self._add(at, offset, ids)
        self._next = start
        self._documents = documents(shards, start)

    def rows(self, count: int) -> Rows:
        """The next `count` rows, (count, T+1) int64."""
        return np.stack([self._row() for _ in range(count)])

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

    def _row(self) -> Rows:
        row: list[int] = []
        while (room := self._row_len - len(row)) > 0:
            while len(self._buffer) < self._buffer_size:
                self._refill()
            piece = self._buffer.take_largest(room)
            if piece is None:
                piece = self._buffer.take_shortest()
                kept = piece.ids[:room]
                # bos is not part of the document, so `room` ids use up room - 1 of its tokens
                self._add(piece.at, piece.offset + room - 1, [piece.ids[0], *piece.ids[room:]], cut=True)
                row.extend(kept)
            else:
                row.extend(piece.ids)
        return np.array(row, dtype=np.int64)

    def _refill(self) -> None:
        lot: list[tuple[Position, str]] = []
        for at, text in self._documents:
            lot.append((at, text))
            if len(lot) == REFILL_DOCUMENTS:
                break
        last = lot[-1][0]
        self._next = Position(last.epoch, last.shard, last.group, last.row + 1)
        for (at, text), ids in zip(lot, self._encode([text for _, text in lot]), strict=True):
            if text:
                self._add(at, 0, ids)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        bos = self._tokenizer.bos
        return [[bos, *ids] for ids in self._tokenizer.encode_batch(texts)]

    def _add(self, at: Position, offset: int, ids: list[int], *, cut: bool = False) -> None:
        if offset and not cut:
            ids = [ids[0], *ids[1 + offset :]]
        if len(ids) > 1:
            self._buffer.add(len(ids), _Piece(at, offset, ids))


def validation_rows(shard: Any, tokenizer: Tokenizer, sequence_len: int, tokens: int) -> Iterator[Rows]:
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
