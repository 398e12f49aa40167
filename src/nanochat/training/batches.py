"""Where a step's rows come from: plain text without end, or conversations of known number.

A source yields whole steps, `step(rows)`; its state is plain JSON, and a source made with it goes on with exactly the
next row. The rows of a step are packed on a thread of their own while the step before is computed. Rows are (B, T)
inputs and targets, a target of -1 being one that does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nanochat.data.ahead import Ahead
from nanochat.data.loader import EVERYTHING, RowGroup, RowLoader, Share
from nanochat.data.packing import BestFitBuffer
from nanochat.errors import UsageError

CONVERSATION_BUFFER = 100
ROWS_AT_A_TIME = 8
NAMED_PLACES = 8  # a step of half a million tokens may draw on many row groups; these fit in a line or two
YIELD_S = 20e-6
"""Packing is Python, and Python lets the thread that trains wait for up to 5 ms: unless, every few rows, it rests."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`ids` and `targets`, both (B, T) int64, and the row groups their documents are from, where these are known."""

    ids: Tensor
    targets: Tensor
    places: tuple[RowGroup, ...] = ()

    @property
    def origin(self) -> str:
        """The row groups in words, "" when they are not known."""
        named = [f"row group {group} of {path.parent.name}/{path.name}" for path, group in self.places]
        more = len(named) - NAMED_PLACES
        return ", ".join(named[:NAMED_PLACES]) + (f" and {more} more" if more > 0 else "")

    @property
    def supervised(self) -> int:
        """How many targets count."""
        return int((self.targets >= 0).sum())

    def parts(self, rows: int) -> Iterator[Batch]:
        """The batch in pieces of at most `rows` rows."""
        for at in range(0, len(self.ids), rows):
            yield Batch(self.ids[at : at + rows], self.targets[at : at + rows])


class BatchSource(Protocol):
    """What the training loop draws from."""

    def step(self, rows: int) -> Batch:
        """The next `rows` rows."""
        ...

    def state(self) -> dict[str, Any]:
        """Where it stands, as JSON values."""
        ...


class Stateful(Protocol):
    """Knows where a source stood."""

    def state(self) -> dict[str, Any]:
        """As JSON values."""
        ...


class Packer(Protocol):
    """Makes steps one after the other."""

    def step(self, rows: int) -> Batch:
        """The next `rows` rows."""
        ...

    def snapshot(self) -> Stateful:
        """Where it stands: cheap, for every step, of which few are saved."""
        ...


class Prepared:
    """The steps of a packer, each made while the one before is computed.

    Args:
        packer: used by another thread from the first step on.
        before_step: called before every step, by the thread that takes it.
    """

    def __init__(self, packer: Packer, before_step: Callable[[], None] = lambda: None) -> None:
        self._packer = packer
        self._before_step = before_step
        self._rows = 0
        self._ahead: Ahead[tuple[Batch, Stateful]] | None = None
        self._snapshot = packer.snapshot()

    def step(self, rows: int) -> Batch:
        """The next `rows` rows, or of these the ones of this process.

        Raises:
            ValueError: another number of rows than in the first step.
        """
        self._before_step()
        if self._ahead is None:
            self._rows = rows
            self._ahead = Ahead(_steps(self._packer, rows), depth=1)
        if rows != self._rows:
            raise ValueError(f"a step of {rows} rows after one of {self._rows}")
        batch, self._snapshot = next(self._ahead)
        return batch

    def state(self) -> dict[str, Any]:
        """The packer's after the last step that was given out."""
        return self._snapshot.state()


def _steps(packer: Packer, rows: int) -> Iterator[tuple[Batch, Stateful]]:
    while True:
        yield packer.step(rows), packer.snapshot()


class TextPacker:
    """Packed documents: every target counts.

    Args:
        loader: gives the rows of all processes, and the state, which is the same in each.
        share: which of them this process trains on.
    """

    def __init__(self, loader: RowLoader, share: Share = EVERYTHING) -> None:
        self._loader = loader
        self._share = share

    def step(self, rows: int) -> Batch:
        """Of the next `rows` rows those of this process's share."""
        share = self._share
        size = share.world_size * max(1, ROWS_AT_A_TIME // share.world_size)
        ids = np.empty((share.of(rows), self._loader.row_len), np.int64)
        for at in range(0, rows, size):
            part = self._loader.rows(min(size, rows - at), share)
            ids[share.of(at) :][: len(part)] = part
            time.sleep(YIELD_S)
        return _text_batch(ids, self._loader.take_places())

    def snapshot(self) -> Stateful:
        """The loader's."""
        return self._loader.snapshot()


def _text_batch(ids: np.ndarray, places: tuple[RowGroup, ...] = ()) -> Batch:
    """Rows of T+1 ids. Copied by NumPy: torch would keep a second set of threads for the thread that calls this."""
    inputs, targets = (np.ascontiguousarray(part) for part in (ids[:, :-1], ids[:, 1:]))
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), places)


Rendered = tuple[list[int], list[int]]  # ids and loss mask of a conversation


@dataclass(slots=True)
class ConversationCounts:
    """What became of the conversations read so far."""

    packed: int = 0
    cropped: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class ConversationPlace:
    """Where a packer of conversations stands."""

    next: int
    buffer: tuple[int, ...]
    counts: tuple[int, int, int]

    def state(self) -> dict[str, Any]:
        """As JSON values."""
        return {"next": self.next, "buffer": list(self.buffer), "counts": list(self.counts)}


class ConversationPacker:
    """Conversations packed best-fit into rows that are padded at the end with bos and ignored targets.

    A conversation longer than a row is cropped to its first T+1 tokens, and dropped when no supervised token remains
    there: so every row has a target and an epoch always ends. Reading starts again at the end. How many
    rows an epoch fills is not known beforehand, so the length of a run is counted in steps.

    Args:
        read: conversation `i`, 0 <= i < count, rendered.
        count: how many there are.
        sequence_len: T.
        pad: the id rows are filled up with.
        state: where to go on, from `snapshot().state()`.
        buffer: how many conversations to choose from.
    """

    def __init__(
        self,
        read: Callable[[int], Rendered],
        count: int,
        sequence_len: int,
        *,
        pad: int,
        state: dict[str, Any] | None = None,
        buffer: int = CONVERSATION_BUFFER,
    ) -> None:
        self._read = read
        self._count = count
        self._row_len = sequence_len + 1
        self._pad = pad
        self._limit = min(buffer, count)
        self._buffer: BestFitBuffer[tuple[int, Rendered]] = BestFitBuffer(self._row_len)
        self._next = 0
        self.counts = ConversationCounts()
        if state:
            self._next = int(state["next"])
            self.counts = ConversationCounts(*state["counts"])
            for index in state["buffer"]:
                rendered = _fitted(self._read(index), self._row_len)
                if rendered is not None:
                    self._buffer.add(len(rendered[0]), (index, rendered))

    def step(self, rows: int) -> Batch:
        """The next `rows` rows."""
        packed = []
        for _ in range(rows):
            packed.append(_row(self._buffer, self._row_len, self._pad, self._refill))
            time.sleep(YIELD_S)
        return _batch(packed)

    def snapshot(self) -> ConversationPlace:
        """Numbers of the next and of the buffered conversations."""
        counts = self.counts
        buffered = tuple(index for index, _ in self._buffer.items())
        return ConversationPlace(self._next, buffered, (counts.packed, counts.cropped, counts.dropped))

    @property
    def epoch(self) -> float:
        """How often the conversations have been read, as a fraction."""
        return self._next / self._count

    def _refill(self) -> None:
        useless = 0
        while len(self._buffer) < self._limit:
            index = self._next % self._count
            self._next += 1
            whole = self._read(index)
            rendered = _fitted(whole, self._row_len)
            if rendered is None:
                self.counts.dropped += 1
                useless += 1
                if useless > self._count:
                    raise UsageError(
                        f"no conversation has anything to train on within {self._row_len - 1} tokens",
                        "raise --sequence-len of the base model, or check the conversations",
                    )
                continue
            self.counts.packed += 1
            self.counts.cropped += len(whole[0]) > self._row_len
            self._buffer.add(len(rendered[0]), (index, rendered))


def _fitted(rendered: Rendered, row_len: int) -> Rendered | None:
    """A conversation cut to a row, or None when nothing in it would be trained."""
    ids, mask = rendered[0][:row_len], rendered[1][:row_len]
    return (ids, mask) if any(mask[1:]) else None


def _row(
    buffer: BestFitBuffer[tuple[int, Rendered]], row_len: int, pad: int, refill: Callable[[], None] | None = None
) -> Rendered:
    """One row filled from the buffer, which is refilled before each pick."""
    ids: list[int] = []
    mask: list[int] = []
    while len(ids) < row_len:
        if refill:
            refill()
        item = buffer.take_largest(row_len - len(ids))
        if item is None:
            break
        ids += item[1][0]
        # the first token of a conversation follows another one: nothing predicts it
        mask += [0, *item[1][1][1:]]
    padding = row_len - len(ids)
    return ids + [pad] * padding, mask + [0] * padding


def _batch(packed: Sequence[Rendered]) -> Batch:
    ids = torch.tensor([row for row, _ in packed])
    mask = torch.tensor([supervised for _, supervised in packed], dtype=torch.bool)
    targets = ids[:, 1:].masked_fill(~mask[:, 1:], -1)
    return Batch(ids[:, :-1].contiguous(), targets)


def fixed_batches(rendered: Sequence[Rendered], sequence_len: int, rows: int, pad: int) -> list[Batch]:
    """Every conversation once, for validation, in batches of at most `rows`; the longest come first."""
    buffer: BestFitBuffer[tuple[int, Rendered]] = BestFitBuffer(sequence_len + 1)
    for index, whole in enumerate(rendered):
        if fitted := _fitted(whole, sequence_len + 1):
            buffer.add(len(fitted[0]), (index, fitted))
    packed = []
    while len(buffer):
        packed.append(_row(buffer, sequence_len + 1, pad))
    return [_batch(packed[at : at + rows]) for at in range(0, len(packed), rows)]


def text_batches(rows: Sequence[np.ndarray], batch_rows: int) -> list[Batch]:
    """Rows of T+1 ids, (1, T+1) each, as batches in which every target counts."""
    return [_text_batch(np.concatenate(rows[at : at + batch_rows])) for at in range(0, len(rows), batch_rows)]
