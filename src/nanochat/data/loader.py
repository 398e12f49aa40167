"""Rows of T+1 ids for pretraining, packed from documents.

Every document opens with bos. A document that does not fit goes on in a later row, again opening with bos, or loses
the rest where the loader is told so.

Row n comes from stream n mod 8. The streams pack independently, each from a buffer of its own, and take turns at one
reader; a document stays in its stream, so that a long one is in one row of eight at most. All of it is decided by data,
seed and n: not by how many rows are asked for at a time, by how many processes share them, or by threads. Every process
runs the whole loader and copies out the rows that are its own: one thread tokenizes for many GPUs, and so the state is
the same everywhere and fits any number of processes.

The state is a few thousand small numbers: where each buffered piece stands in the data, not its tokens. What was read
ahead but not dealt to a stream is simply read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from nanochat.data.mixing import MixedPieces, MixedPlace
from nanochat.data.mixture import Portion, TextMixture
from nanochat.data.packing import BestFitBuffer
from nanochat.data.passes import Damage, documents, one_pass
from nanochat.data.pieces import Piece, Pieces, read_again
from nanochat.tokenizer.tokenizer import Tokenizer

Rows = npt.NDArray[np.int64]
Tails: TypeAlias = Literal["keep", "drop"]
RowGroup: TypeAlias = tuple[Path, int]
"""A shard and the number of a row group in it."""

STREAMS = 8
BUFFER_DOCUMENTS = 1000
BUFFER_TOKENS = 1 << 22
VALIDATION_DOCUMENTS = 128


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where a loader stands: the next documents, the number of the next row, and what waits in each stream."""

    place: MixedPlace
    row: int
    streams: list[list[Piece]]

    def state(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            **self.place.state(),
            "row": self.row,
            "streams": [[list(piece.place()) for piece in pieces] for pieces in self.streams],
        }


class RowLoader:
    """An endless supply of packed rows.

    Args:
        shards: parquet files in order.
        tokenizer: turns documents into ids.
        sequence_len: T; rows hold T+1 ids so that inputs and targets can overlap.
        seed: of the order of shards and row groups, another one in every pass; None keeps theirs.
        state: where to go on, from `state()` of a loader with the same arguments.
        buffer: how many documents to choose from, in all streams together.
        tails: what becomes of the rest of a document that was cut to fill a row.
        portions: which shards make up which share of the tokens; by default they are all one.
        damage: takes note of what cannot be read and is passed over; None raises it.

    Attributes:
        row_len: T+1.

    Raises:
        DamagedError: shards that cannot be read, also by `rows`.
        UsageError: a data set without text, by `rows`.
    """

    def __init__(
        self,
        shards: tuple[Path, ...],
        tokenizer: Tokenizer,
        sequence_len: int,
        *,
        seed: int | None = None,
        state: dict[str, Any] | None = None,
        buffer: int = BUFFER_DOCUMENTS,
        tails: Tails = "keep",
        portions: Sequence[Portion] = (),
        damage: Damage | None = None,
    ) -> None:
        portions = portions or (Portion(range(len(shards)), 1.0),)
        self._shards = shards
        self._places: set[tuple[int, int]] = set()
        self.row_len = sequence_len + 1
        self._streams = [
            _Stream(tokenizer.bos, self.row_len, max(1, buffer // STREAMS), BUFFER_TOKENS // STREAMS, tails)
            for _ in range(STREAMS)
        ]
        self._row = 0
        place = MixedPlace((None,) * len(portions), (0,) * len(portions))
        if state:
            place = MixedPlace.from_state(state)
            self._row = int(state["row"])
            places = [(number, place) for number, places in enumerate(state["streams"]) for place in places]
            pieces = read_again(shards, tokenizer, [place for _, place in places], damage)
            for (number, _), piece in zip(places, pieces, strict=True):
                if piece:
                    self._streams[number].add(piece)
        sources = [
            Pieces(
                documents(shards, start, seed, among=portion.shards, damage=damage),
                shards,
                tokenizer,
                start,
                damage=damage,
            )
            for portion, start in zip(portions, place.next, strict=True)
        ]
        self._pieces = MixedPieces(sources, [portion.weight for portion in portions], place.taken)

    def rows(self, count: int, keep: range | None = None) -> Rows:
        """The next `count` rows, or of these the ones numbered in `keep`, the rest being passed over.

        Returns:
            (count or len(keep), T+1) int64.
        """
        keep = range(count) if keep is None else keep
        rows = np.empty((len(keep), self.row_len), np.int64)
        for number in range(count):
            stream = self._streams[self._row % STREAMS]
            stream.fill(rows[keep.index(number)] if number in keep else None, self._pieces, self._places)
            self._row += 1
        return rows

    def take_places(self) -> tuple[RowGroup, ...]:
        """The row groups of all rows since the last call, in order; those that were passed over included."""
        places = tuple((self._shards[shard], group) for shard, group in sorted(self._places))
        self._places.clear()
        return places

    def state(self) -> dict[str, Any]:
        """What `__init__` needs to go on with exactly the next row; plain JSON values."""
        return self.snapshot().state()

    def snapshot(self) -> Snapshot:
        """The present state, cheaper than `state`: for every step, of which few are saved."""
        return Snapshot(self._pieces.place, self._row, [stream.waiting() for stream in self._streams])

    @property
    def epoch(self) -> int:
        """Passes over the data begun before this one, over the first of several data sets."""
        first = self._pieces.place.next[0]
        return first.epoch if first else 0


class _Stream:
    """Packs rows. Each opens with the document that has waited longest, so that none waits for ever and the first rows
    are like all others; then comes what fills the rest exactly, or fits best; when nothing fits the shortest is cut.

    Args:
        bos: the id that opens documents.
        row_len: T+1.
        documents: how many to choose from.
        tokens: enough to choose from, in fewer documents.
        tails: what becomes of the rest of a cut document.
    """

    def __init__(self, bos: int, row_len: int, documents: int, tokens: int, tails: Tails = "keep") -> None:
        self._bos = bos
        self._row_len = row_len
        self._documents = documents
        self._tokens = tokens
        self._tails = tails
        self._buffer: BestFitBuffer[Piece] = BestFitBuffer(row_len)

    def add(self, piece: Piece) -> None:
        """Let a piece wait here."""
        self._buffer.add(1 + len(piece.ids), piece)

    def waiting(self) -> list[Piece]:
        """What is in the buffer, oldest first."""
        return self._buffer.items()

    def fill(
        self,
        row: npt.NDArray[np.int64] | None,
        pieces: Iterator[Piece],
        places: set[tuple[int, int]],
    ) -> int:
        """Pack the next row into `row`, (T+1,) int64, or with None as if; shard and row group of what is in it are
        added to `places`.

        Returns:
            How many ids of the row are set: T+1, or fewer when `pieces` has ended and nothing waits any more.
        """
        used = 0
        while (room := self._row_len - used) > 0:
            while len(self._buffer) < self._documents and self._buffer.tokens < self._tokens:
                if (following := next(pieces, None)) is None:
                    break
                self.add(following)
            if not len(self._buffer):
                break
            if row is not None:
                row[used] = self._bos
            used += 1
            if room == 1:  # nothing but a bos fits there
                break
            if room == self._row_len:
                piece = self._buffer.take_oldest()
            else:
                piece = self._buffer.take_fitting(room) or self._buffer.take_shortest()
            places.add((piece.at.shard, piece.at.group))
            count = min(len(piece.ids), room - 1)
            if row is not None:
                row[used : used + count] = piece.ids[:count]
            used += count
            if count < len(piece.ids) and self._tails == "keep":
                self.add(piece.after(count))
        return used


def validation_rows(shard: Path, tokenizer: Tokenizer, sequence_len: int, tokens: int) -> Iterator[Rows]:
    """The same rows at every validation: packed from the validation shard in order, (1, T+1) each.

    Args:
        shard: the validation file.
        tokenizer: turns documents into ids.
        sequence_len: T.
        tokens: how many targets at least; one pass over the shard at most. What is less than a row at its end is left
            out; a shard of less than a row is repeated to make one.
    """
    pieces = Pieces(one_pass((shard,)), (shard,), tokenizer)
    stream = _Stream(tokenizer.bos, sequence_len + 1, VALIDATION_DOCUMENTS, BUFFER_TOKENS)
    for number in range(-(-tokens // sequence_len)):
        rows = np.empty((1, sequence_len + 1), np.int64)
        if stream.fill(rows[0], pieces, set()) <= sequence_len:
            if number == 0:
                yield RowLoader((shard,), tokenizer, sequence_len).rows(1)
            return
        yield rows


def mixed_validation_rows(text: TextMixture, tokenizer: Tokenizer, sequence_len: int, tokens: int) -> Iterator[Rows]:
    """`validation_rows` of every data set, in the shares of the mixture."""
    for dataset, weight in text.parts:
        yield from validation_rows(dataset.validation, tokenizer, sequence_len, max(1, round(tokens * weight)))
