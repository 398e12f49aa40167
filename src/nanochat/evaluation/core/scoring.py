"""What a scorer of questions is, and the plain one: rows as they are, padded at their end, all logits of each.

The plain scorer works with anything that gives logits, so Hugging Face models are scored by it; a row at a time it
is the slow twin of `tree`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.evaluation.core.questions import Question, Row

Logits = Callable[[Tensor, Tensor], Tensor]
"""Ids and which of them are real, both (B, T), to logits (B, T, V), of any dtype."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a row's scored tokens cost, and whether each was the likeliest."""

    nats: float
    tokens: int
    greedy: bool

    @property
    def mean(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens


class Scorer(Protocol):
    """Scores questions in passes that fit its device."""

    def passes(self, questions: Sequence[Question]) -> Iterator[list[int]]:
        """Which questions, by number, are best scored together; each in one of them."""
        ...

    def score(self, questions: Sequence[Question]) -> list[list[Scored]]:
        """One for each row of each question."""
        ...


class PlainScorer:
    """Scores rows by all their logits.

    Args:
        logits: the model.
        device: where it computes.
        longest: tokens the model can read, beyond which rows lose their beginning; None for any number.
        tokens: of a pass, padding included; a question always fits.
    """

    def __init__(self, logits: Logits, device: torch.device, *, longest: int | None = None, tokens: int = 4096) -> None:
        self._logits = logits
        self._device = device
        self._longest = longest
        self._tokens = tokens

    def passes(self, questions: Sequence[Question]) -> Iterator[list[int]]:
        """See `Scorer`."""
        longest = [max(len(row.ids) for row in question.rows) for question in questions]
        batch: list[int] = []
        rows = 0
        for number in sorted(range(len(questions)), key=lambda at: -longest[at]):
            more = len(questions[number].rows)
            if batch and (rows + more) * longest[batch[0]] > self._tokens:
                yield batch
                batch, rows = [], 0
            batch.append(number)
            rows += more
        if batch:
            yield batch

    @torch.inference_mode()
    def score(self, questions: Sequence[Question]) -> list[list[Scored]]:
        """See `Scorer`."""
        rows = [cropped(row, self._longest) for question in questions for row in question.rows]
        length = max(len(row.ids) for row in rows)
        ids = torch.tensor([row.ids + [0] * (length - len(row.ids)) for row in rows], device=self._device)
        there = torch.tensor([[1] * len(row.ids) + [0] * (length - len(row.ids)) for row in rows], device=self._device)
        logits = self._logits(ids, there)
        scores = iter([_scored(logits[at, row.start - 1 : len(row.ids) - 1], row) for at, row in enumerate(rows)])
        return [[next(scores) for _ in question.rows] for question in questions]


def cropped(row: Row, longest: int | None) -> Row:
    """A row without the beginning that a model cannot read; at least the first token is context."""
    if longest is None or len(row.ids) <= longest:
        return row
    gone = len(row.ids) - longest
    return Row(row.ids[gone:], max(1, row.start - gone))


def _scored(logits: Tensor, row: Row) -> Scored:
    wanted = torch.tensor(row.ids[row.start :], device=logits.device)
    losses = F.cross_entropy(logits.float(), wanted, reduction="sum")
    greedy = bool((logits.argmax(-1) == wanted).all())
    return Scored(nats=float(losses), tokens=len(wanted), greedy=greedy)
