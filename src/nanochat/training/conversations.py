"""Conversations as rows to train on: packed best-fit and padded, from a known number of them, again and again.

What is longer than a row is cut to the part of it that teaches most, see `cropped`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from nanochat.data.packing import BestFitBuffer
from nanochat.errors import UsageError
from nanochat.training.batches import EVERYTHING, YIELD_S, Batch, Share

CONVERSATION_BUFFER = 100

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

    A conversation longer than a row is cropped to T+1 tokens, see `cropped`, and one without a supervised token is
    dropped: so every row has a target and an epoch always ends. Reading starts again at the end. How many
    rows an epoch fills is not known beforehand, so the length of a run is counted in steps; `rows_of` estimates it.

    Args:
        read: conversation `i`, 0 <= i < count, rendered.
        count: how many there are.
        sequence_len: T.
        pad: the id rows are filled up with.
        turn: the id that a question begins with.
        state: where to go on, from `snapshot().state()`.
        buffer: how many conversations to choose from.
        share: which rows this process trains on.
    """

    def __init__(
        self,
        read: Callable[[int], Rendered],
        count: int,
        sequence_len: int,
        *,
        pad: int,
        turn: int,
        state: dict[str, Any] | None = None,
        buffer: int = CONVERSATION_BUFFER,
        share: Share = EVERYTHING,
    ) -> None:
        self._share = share
        self._read = read
        self._count = count
        self._row_len = sequence_len + 1
        self._pad = pad
        self._turn = turn
        self._limit = min(buffer, count)
        self._buffer: BestFitBuffer[tuple[int, Rendered]] = BestFitBuffer(self._row_len)
        self._next = 0
        self.counts = ConversationCounts()
        if state:
            self._next = int(state["next"])
            self.counts = ConversationCounts(*state["counts"])
            for index in state["buffer"]:
                rendered = cropped(self._read(index), self._row_len, self._turn)
                if rendered is not None:
                    self._buffer.add(len(rendered[0]), (index, rendered))

    def step(self, rows: int) -> Batch:
        """Of the next `rows` rows those of this process's share."""
        mine = self._share.of(rows)
        packed: list[Rendered] = []
        elsewhere = 0
        numbers: set[int] = set()
        for number in range(rows):
            row, indices = _row(self._buffer, self._row_len, self._pad, self._refill)
            numbers.update(indices)
            if number in mine:
                packed.append(row)
            else:
                elsewhere += sum(row[1][1:])
            time.sleep(YIELD_S)
        return _batch(packed, tuple(sorted(numbers)), elsewhere)

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
            rendered = cropped(whole, self._row_len, self._turn)
            if rendered is None:
                self.counts.dropped += 1
                useless += 1
                if useless > self._count:
                    raise UsageError(
                        "no conversation has anything to train on",
                        "nanochat data chat-check FILE shows which tokens are trained",
                    )
                continue
            self.counts.packed += 1
            self.counts.cropped += len(whole[0]) > self._row_len
            self._buffer.add(len(rendered[0]), (index, rendered))


def cropped(rendered: Rendered, row_len: int, turn: int) -> Rendered | None:
    """A conversation cut to a row, or None when nothing in it would be trained.

    Of a longer one the part is taken that has most supervised tokens among those that begin with a question, the
    earliest of equals; bos stays in front. Where every answer is farther than a row behind its question, the first
    answer is taken, up to half a row of it, behind the end of its question.

    Args:
        rendered: ids and mask; the first id is bos.
        row_len: T + 1, at least 3.
        turn: the id that a question begins with.
    """
    ids, mask = rendered
    if len(ids) <= row_len:
        return rendered if any(mask[1:]) else None
    counts = [0, *accumulate(mask)]
    room = row_len - 1
    starts = [at for at, token in enumerate(ids) if token == turn] or [1]
    best = max(starts, key=lambda at: counts[min(at + room, len(ids))] - counts[at])
    if counts[min(best + room, len(ids))] > counts[best]:
        return [ids[0], *ids[best : best + room]], [mask[0], *mask[best : best + room]]
    answer = next((at for at in range(1, len(ids)) if mask[at]), None)
    if answer is None:
        return None
    end = next((at for at in range(answer, len(ids)) if not mask[at]), len(ids))
    end = min(end, answer + row_len // 2)
    start = end - (room - 1)
    return [ids[0], turn, *ids[start:end]], [mask[0], 0, *mask[start:end]]


def rows_of(rendered: Iterable[Rendered], sequence_len: int, turn: int, buffer: int = CONVERSATION_BUFFER) -> int:
    """How many rows these conversations fill, packed once as `ConversationPacker` does."""
    row_len = sequence_len + 1
    waiting: BestFitBuffer[int] = BestFitBuffer(row_len)
    coming = (len(fitted[0]) for whole in rendered if (fitted := cropped(whole, row_len, turn)))
    rows = room = 0
    while True:
        while len(waiting) < buffer and (length := next(coming, 0)):
            waiting.add(length, length)
        if not len(waiting):
            return rows
        if (taken := waiting.take_largest(room)) is None:
            rows, room = rows + 1, row_len
        else:
            room -= taken


def _row(
    buffer: BestFitBuffer[tuple[int, Rendered]], row_len: int, pad: int, refill: Callable[[], None] | None = None
) -> tuple[Rendered, list[int]]:
    """One row filled from the buffer, which is refilled before each pick, and the numbers of what is in it."""
    ids: list[int] = []
    mask: list[int] = []
    numbers: list[int] = []
    while len(ids) < row_len:
        if refill:
            refill()
        item = buffer.take_largest(row_len - len(ids))
        if item is None:
            break
        number, rendered = item
        numbers.append(number)
        ids += rendered[0]
        # the first token of a conversation follows another one: nothing predicts it
        mask += [0, *rendered[1][1:]]
    padding = row_len - len(ids)
    return (ids + [pad] * padding, mask + [0] * padding), numbers


def _batch(packed: Sequence[Rendered], numbers: tuple[int, ...] = (), elsewhere: int = 0) -> Batch:
    ids = torch.tensor([row for row, _ in packed])
    mask = torch.tensor([supervised for _, supervised in packed], dtype=torch.bool)
    targets = ids[:, 1:].masked_fill(~mask[:, 1:], -1)
    return Batch(ids[:, :-1].contiguous(), targets, numbers, elsewhere)


def fixed_batches(rendered: Sequence[Rendered], sequence_len: int, rows: int, *, pad: int, turn: int) -> list[Batch]:
    """Every conversation once, for validation, in batches of at most `rows`; the longest come first."""
    buffer: BestFitBuffer[tuple[int, Rendered]] = BestFitBuffer(sequence_len + 1)
    for index, whole in enumerate(rendered):
        if fitted := cropped(whole, sequence_len + 1, turn):
            buffer.add(len(fitted[0]), (index, fitted))
    packed = []
    while len(buffer):
        packed.append(_row(buffer, sequence_len + 1, pad)[0])
    return [_batch(packed[at : at + rows]) for at in range(0, len(packed), rows)]
