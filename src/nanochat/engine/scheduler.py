"""Many answers at once: they join and leave between steps, and each step is one pass over the new tokens of all.

Rows that are being answered give one token each to a pass, or a few more that were guessed or forced in; prompts
give a piece each, a small one while others are being answered, so that nobody waits long for a stranger's prompt.
What fails in one pass has changed nothing: tokens count as read only after it.
"""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from nanochat.engine.cache import LONGEST_PIECE, KVCache, Pass, Piece
from nanochat.engine.lookup import Lookup
from nanochat.engine.model import LanguageModel
from nanochat.engine.row import Row
from nanochat.engine.sampling import Choice, choose
from nanochat.engine.slots import Slots, common_length
from nanochat.engine.steps import GenerationStep

PIECE_BESIDE = 128  # tokens of prompts in a pass that others wait for: half of what is fastest to read
GPU_FACTOR = 8  # a GPU reads that much more at once
GUESSING_ROWS = 2  # at most; with more rows the device has enough to do
WORTH_WAITING = 16  # tokens of a prompt that another row is reading already


class Scheduler:
    """The rows in progress and those that wait for a place.

    Args:
        model: reads and predicts.
        cache: its rows are the places.
        lookup: guess tokens from the text where only the likeliest ones are taken.
    """

    def __init__(self, model: LanguageModel, cache: KVCache, *, lookup: bool = True) -> None:
        self.model = model
        self.cache = cache
        self.slots = Slots(cache)
        self.lookup = lookup
        self._waiting: deque[Row] = deque()
        self._active: list[Row] = []
        self._said: list[GenerationStep] = []  # steps that need no pass

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._waiting or self._active or self._said)

    @property
    def active(self) -> int:
        """Rows that have a place."""
        return len(self._active)

    def submit(self, row: Row) -> None:
        """Let a row in as soon as there is a place."""
        self._said += row.begin()
        if row.stop_reason is None:
            self._waiting.append(row)

    def cancel(self, row: Row) -> None:
        """Let a row go, whatever it was doing; its place is free at once."""
        self._said = [step for step in self._said if step.row != row.number]
        if row in self._waiting:
            self._waiting.remove(row)
        elif row in self._active:
            self._leave(row)

    @torch.inference_mode()
    def step(self) -> list[GenerationStep]:
        """One pass, and the steps that came of it: for each row none, one, or several.

        Raises:
            DivergedError: the model's output is not a number.
        """
        said, self._said = self._said, []
        if said:
            return said
        self._admit()
        if not self._active:
            return []
        drafts: dict[int, list[int]] = {}
        rows, pieces = self._pieces(drafts)
        forward = self.cache.begin(pieces)
        hidden = self.model.hidden(forward.ids, forward)[0]  # (N, C)
        ready, choices = self._choose(rows, forward, hidden, drafts)
        forward.commit()
        steps: list[GenerationStep] = []
        for row in ready:
            steps += self._take(row, choices[row.number], drafts.get(row.number, []))
        return steps

    def _admit(self) -> None:
        """Give waiting rows the places there are, in their order."""
        put_off: deque[Row] = deque()
        while self._waiting and self.slots.idle:
            row = self._waiting.popleft()
            if self._being_read(row):
                put_off.append(row)
                continue
            row.slot = self.slots.take(row.ids)
            self._active.append(row)
        self._waiting.extendleft(reversed(put_off))

    def _being_read(self, row: Row) -> bool:
        """Whether another row is reading a prompt that begins like this one's: then it is better copied than read."""
        for other in self._active:
            unread = len(other.request.prompt) - self._stored(other)
            if unread > 1:
                limit = min(len(row.ids), len(other.request.prompt)) - 1
                same = common_length(row.ids, other.ids, limit)
                if same - self._stored(other) >= WORTH_WAITING:
                    return True
        return False

    def _pieces(self, drafts: dict[int, list[int]]) -> tuple[list[Row], list[Piece]]:
        """Who gives what to the next pass; guesses are noted in `drafts`."""
        answering = [row for row in self._active if len(row.ids) - self._stored(row) == 1]
        room = (PIECE_BESIDE if answering else LONGEST_PIECE) * (1 if self.cache.device.type == "cpu" else GPU_FACTOR)
        rows, pieces = [], []
        for row in self._active:
            start = self._stored(row)
            count = len(row.ids) - start
            if count > 1:
                count = min(count, room, LONGEST_PIECE)
                room -= count
            if not count:
                continue
            ids = row.ids[start : start + count]
            if len(answering) <= GUESSING_ROWS and start + count == len(row.ids) and self._guesses(row):
                drafts[row.number] = self._draft(row.lookup, row)
                ids += drafts[row.number]
            rows.append(row)
            pieces.append(Piece(self._slot(row), ids, row.ids[start - 1] if start else None))
        return rows, pieces

    def _guesses(self, row: Row) -> bool:
        return self.lookup and row.sampler.plain and row.generated > 0

    def _draft(self, lookup: Lookup, row: Row) -> list[int]:
        """Guessed tokens, no more than the row may still say."""
        return lookup.draft(row.ids)[: max(0, row.room - 1)]

    def _choose(
        self, rows: list[Row], forward: Pass, hidden: Tensor, drafts: dict[int, list[int]]
    ) -> tuple[list[Row], dict[int, list[Choice]]]:
        """The rows that have been read to their end, and what follows their last token and each guess."""
        ready: list[Row] = []
        at: list[int] = []
        counts: list[int] = []
        for row, piece, end in zip(rows, forward.pieces, forward.ends, strict=True):
            guessed = len(drafts.get(row.number, ()))
            if self._stored(row) + len(piece.ids) - guessed == len(row.ids):
                ready.append(row)
                counts.append(1 + guessed)
                at += range(end - 1 - guessed, end)
        if not ready:
            return [], {}
        wanted = hidden if len(at) == len(hidden) else hidden[torch.tensor(at, device=hidden.device)]
        owners = [row for row, count in zip(ready, counts, strict=True) for _ in range(count)]
        made = choose(self.model.logits(wanted), [row.sampler for row in owners], [row.ids for row in owners])
        choices, begin = {}, 0
        for row, count in zip(ready, counts, strict=True):
            choices[row.number] = made[begin : begin + count]
            begin += count
        return ready, choices

    def _take(self, row: Row, choices: list[Choice], draft: list[int]) -> list[GenerationStep]:
        """The steps of a row: guesses that came true, and the first token that was not guessed."""
        length = len(row.ids)
        steps: list[GenerationStep] = []
        accepted = 0
        for at, choice in enumerate(choices):
            new = row.take(choice)
            steps += new
            if row.stop_reason or at == len(draft) or choice.token != draft[at]:
                break
            accepted += 1
            if len(new) > 1:  # a tool's result stands where the next guess stood
                break
        if draft:
            row.lookup.learn(accepted)
            self.cache.cut(self._slot(row), length + accepted)
        if row.stop_reason:
            self._leave(row)
        return steps

    def _leave(self, row: Row) -> None:
        self._active.remove(row)
        self.slots.give_back(self._slot(row))
        row.slot = None

    def _slot(self, row: Row) -> int:
        assert row.slot is not None
        return row.slot

    def _stored(self, row: Row) -> int:
        return self.cache.lengths[self._slot(row)]
