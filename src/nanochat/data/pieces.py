"""Documents of a data set as token ids, in order, read and tokenized ahead on a thread of their own.

The tokenizer holds no interpreter lock, and what is left in Python is a slice for each document. Memory is bounded
whatever the documents: they are tokenized in lots of a megabyte of text, and a document longer than that comes in
parts, each cut at the end of a line or a word.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from nanochat.data.ahead import Ahead
from nanochat.data.passes import Damage, Position
from nanochat.data.shards import Texts, not_readable, read_texts
from nanochat.errors import DamagedError
from nanochat.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from nanochat.tokenizer.tokenizer import Ids

LOT_DOCUMENTS = 128
PART_BYTES = 1 << 20  # of text: the most in a lot, and in one part of a document

Place: TypeAlias = tuple[int, int, int, int, int, int]
"""A piece as plain numbers: epoch, shard, group, row, byte, offset."""


class Piece:
    """Tokens of a document, or of a part of one, from `offset` on, without bos."""

    __slots__ = ("at", "ids", "offset")

    def __init__(self, at: Position, offset: int, ids: Ids) -> None:
        self.at = at
        self.offset = offset
        self.ids = ids

    def after(self, count: int) -> Piece:
        """The same without its first `count` tokens. Most of the old ids can go when little is left."""
        ids = self.ids[count:]
        if ids.base is not None and 2 * ids.nbytes < ids.base.nbytes:
            ids = ids.copy()
        return Piece(self.at, self.offset + count, ids)

    def place(self) -> Place:
        """What `read_again` needs to make this piece."""
        at = self.at
        return at.epoch, at.shard, at.group, at.row, at.byte, self.offset


_Lot = tuple[list[Piece], Position]  # what has tokens, and where the next lot begins


class Pieces:
    """An iterator over documents that have tokens, longer ones in parts.

    Args:
        groups: documents and their places, as `shards.documents` gives them.
        shards: the files they come from.
        tokenizer: turns them into ids.
        start: where the first of them is.
        damage: takes note of lots that are no UTF-8; None raises it.
    """

    def __init__(
        self,
        groups: Iterator[tuple[Position, Texts]],
        shards: tuple[Path, ...],
        tokenizer: Tokenizer,
        start: Position | None = None,
        *,
        damage: Damage | None = None,
    ) -> None:
        self._lots = Ahead(_lots(groups, shards, tokenizer, damage))
        self._held: deque[Piece] = deque()
        self._after = start

    def __iter__(self) -> Pieces:
        return self

    def __next__(self) -> Piece:
        while not self._held:
            held, self._after = next(self._lots)
            self._held.extend(held)
        return self._held.popleft()

    @property
    def next(self) -> Position | None:
        """Where what comes next begins, as a `start` for `shards.documents`; None before anything was read."""
        return self._held[0].at if self._held else self._after


def _lots(
    groups: Iterable[tuple[Position, Texts]], shards: tuple[Path, ...], tokenizer: Tokenizer, damage: Damage | None
) -> Iterator[_Lot]:
    for first, texts in groups:
        ends = texts.offsets[1:].tolist()
        row, byte = 0, int(texts.offsets[0]) + first.byte  # in `texts`: where the lot begins
        while row < len(texts):
            # one part of a long document, or whole documents as far as they go
            if ends[row] - byte > PART_BYTES:
                to_row, bounds = row, [byte, _part_end(texts.data, byte, ends[row])]
            else:
                fitting = int(np.searchsorted(texts.offsets, byte + PART_BYTES, "right")) - 1
                to_row = min(fitting, row + LOT_DOCUMENTS)
                bounds = [byte, *ends[row:to_row]]
            at = _place(first, texts, row, byte)
            try:
                encoded = _encoded(tokenizer, shards[at.shard], at, texts.data, np.array(bounds))
            except DamagedError as error:
                if damage is None:
                    raise
                damage.pass_over(error, shards[at.shard], at.group)
                encoded = []
            pieces = [
                Piece(_place(first, texts, number, byte), 0, ids) for number, ids in enumerate(encoded, row) if len(ids)
            ]
            row, byte = to_row, bounds[-1]
            yield pieces, _place(first, texts, row, byte)


def _place(first: Position, texts: Texts, number: int, byte: int) -> Position:
    """Of document `number` of `texts`, the first of which is at `first`, or of its part that begins at `byte`."""
    inside = max(0, byte - int(texts.offsets[number]))
    return Position(first.epoch, first.shard, first.group, first.row + number, inside)


def _part_end(data: npt.NDArray[np.uint8], begin: int, end: int) -> int:
    """Where the part of a document that begins at `begin` ends: in its second half after a line, before a word or
    at least before a character.
    """
    if end - begin <= PART_BYTES:
        return end
    text = data[begin : begin + PART_BYTES + 1].tobytes()
    half = PART_BYTES // 2
    if (line := text.rfind(b"\n", half, PART_BYTES) + 1) or (line := text.rfind(b" ", half)) > 0:
        return begin + line
    character = PART_BYTES
    while character > half and text[character] & 0xC0 == 0x80:
        character -= 1
    return begin + character


def _encoded(
    tokenizer: Tokenizer, path: Path, at: Position, data: npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64]
) -> list[Ids]:
    """The ids of each text, in memory of its own; `at` is the first one's place. One thread: the others train."""
    try:
        ids, offsets = tokenizer.encode_column(data[bounds[0] : bounds[-1]], bounds - bounds[0], num_threads=1)
    except ValueError as error:
        raise not_readable(path, f"counted from row {at.row} of row group {at.group}, {error}") from error
    return [ids[start:end].copy() for start, end in itertools.pairwise(offsets.tolist())]


def read_again(
    shards: tuple[Path, ...],
    tokenizer: Tokenizer,
    places: Iterable[Sequence[int]],
    damage: Damage | None = None,
) -> list[Piece | None]:
    """The pieces at these places, None where they cannot be read any more. Every row group is read once.

    Args:
        shards: the files they come from.
        tokenizer: turns them into ids.
        places: as `Piece.place` gives them.
        damage: takes note of what cannot be read; None raises it.

    Raises:
        DamagedError: the shards have changed.
    """
    places = [tuple(place) for place in places]
    wanted: dict[tuple[int, int], set[tuple[int, int]]] = defaultdict(set)
    for _, shard, group, row, byte, _ in places:
        wanted[shard, group].add((row, byte))
    found: dict[tuple[int, int, int, int], Ids] = {}
    for (shard, group), parts in wanted.items():
        if shard >= len(shards):
            raise not_readable(shards[-1], "the shards after it are gone since the checkpoint")
        try:
            for row, byte, ids in _read_parts(shards[shard], tokenizer, group, sorted(parts)):
                found[shard, group, row, byte] = ids
        except DamagedError as error:
            if damage is None:
                raise
            damage.pass_over(error, shards[shard], group)
    return [
        Piece(Position(epoch, shard, group, row, byte), 0, ids).after(offset) if ids is not None else None
        for epoch, shard, group, row, byte, offset in places
        for ids in [found.get((shard, group, row, byte))]
    ]


def _read_parts(
    path: Path, tokenizer: Tokenizer, group: int, parts: list[tuple[int, int]]
) -> Iterator[tuple[int, int, Ids]]:
    """Row, byte and ids of parts of documents, given in order by row and byte."""
    waiting = deque(parts)
    for first, texts in read_texts(path, group, parts[0][0]):
        while waiting and waiting[0][0] < first + len(texts):
            row, byte = waiting.popleft()
            begin, end = int(texts.offsets[row - first]) + byte, int(texts.offsets[row - first + 1])
            bounds = np.array([begin, _part_end(texts.data, begin, end)])
            yield row, byte, _encoded(tokenizer, path, Position(0, 0, group, row, byte), texts.data, bounds)[0]
    if waiting:
        raise not_readable(path, f"row group {group} has lost documents since the checkpoint")
