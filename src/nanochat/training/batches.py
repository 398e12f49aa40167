"""Where a step's rows come from, and which of them are this process's.

A source yields whole steps, `step(rows)`; its state is plain JSON, and a source made with it goes on with exactly the
next row. The rows of a step are packed on a thread of their own while the step before is computed. Rows are (B, T)
inputs and targets, a target of -1 being one that does not count.

With several processes each packs every row and keeps those of its share, so that nothing has to be sent, the state is
the same everywhere, and all know how many targets the step has.
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
from nanochat.data.loader import RowGroup, RowLoader

ROWS_AT_A_TIME = 8
NAMED_PLACES = 8  # a step of half a million tokens may draw on many row groups; these fit in a line or two
YIELD_S = 20e-6
"""Packing is Python, and Python lets the thread that trains wait for up to 5 ms: unless, every few rows, it rests."""


@dataclass(frozen=True, slots=True)
class Share:
    """The rows of one process: the block numbered `rank` of `world_size` equal ones.

    A block, so that two processes with one micro-step each do what one process does in two.

    Raises:
        ValueError: no such rank.
    """

    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank {self.rank} of {self.world_size}")

    def of(self, count: int) -> range:
        """Which of `count` rows are in it.

        Raises:
            ValueError: `count` cannot be shared out evenly.
        """
        if count % self.world_size:
            raise ValueError(f"{count} rows cannot be shared out to {self.world_size} processes")
        size = count // self.world_size
        return range(self.rank * size, (self.rank + 1) * size)


EVERYTHING = Share()


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of a step that are this process's.

    Attributes:
        ids: (B, T) int64.
        targets: (B, T) int64.
        places: where the rows of all processes are from, where that is known: row groups of text, or numbers of
            conversations.
        elsewhere: how many targets count in the rows of other processes.
    """

    ids: Tensor
    targets: Tensor
    places: tuple[RowGroup, ...] | tuple[int, ...] = ()
    elsewhere: int = 0

    @property
    def origin(self) -> str:
        """The places in words, "" when they are not known."""
        named = [_in_words(place) for place in self.places[:NAMED_PLACES]]
        more = len(self.places) - NAMED_PLACES
        return ", ".join(named) + (f" and {more} more" if more > 0 else "")

    @property
    def supervised(self) -> int:
        """How many targets of the step count, in all processes."""
        return int((self.targets >= 0).sum()) + self.elsewhere

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What the loss is given, row by row."""
        return self.ids, self.targets

    def divisor(self, supervised: int) -> int:
        """What the summed loss of the step is divided by; `supervised` is our own, which takes a pass to count."""
        return max(1, supervised)

    def tokens(self, world_size: int) -> int:
        """Tokens of the step in all processes, as they are counted."""
        return self.ids.numel() * world_size

    def parts(self, rows: int) -> Iterator[Batch]:
        """The batch in pieces of at most `rows` rows."""
        for at in range(0, len(self.ids), rows):
            yield Batch(self.ids[at : at + rows], self.targets[at : at + rows])


def _in_words(place: RowGroup | int) -> str:
    if isinstance(place, int):
        return f"conversation {place + 1}"
    path, group = place
    return f"row group {group} of {path.parent.name}/{path.name}"


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
        mine = self._share.of(rows)
        length = self._loader.row_len
        ids = np.empty((len(mine), length), np.int64)
        for at in range(0, rows, ROWS_AT_A_TIME):
            count = min(ROWS_AT_A_TIME, rows - at)
            keep = range(max(mine.start, at), max(mine.start, at, min(mine.stop, at + count)))
            part = self._loader.rows(count, range(keep.start - at, keep.stop - at))
            ids[keep.start - mine.start :][: len(part)] = part
            time.sleep(YIELD_S)
        return _text_batch(ids, self._loader.take_places(), elsewhere=(rows - len(mine)) * (length - 1))

    def snapshot(self) -> Stateful:
        """The loader's."""
        return self._loader.snapshot()


def _text_batch(ids: np.ndarray, places: tuple[RowGroup, ...] = (), elsewhere: int = 0) -> Batch:
    """Rows of T+1 ids. Copied by NumPy: torch would keep a second set of threads for the thread that calls this."""
    inputs, targets = (np.ascontiguousarray(part) for part in (ids[:, :-1], ids[:, 1:]))
    return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), places, elsewhere)


def text_batches(rows: Sequence[np.ndarray], batch_rows: int) -> list[Batch]:
    """Rows of T+1 ids, (1, T+1) each, as batches in which every target counts."""
    return [_text_batch(np.concatenate(rows[at : at + batch_rows])) for at in range(0, len(rows), batch_rows)]
