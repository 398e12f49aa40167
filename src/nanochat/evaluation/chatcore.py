"""ChatCORE: one number for a chat model, the mean over tasks of how far it is from chance to perfect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Scored(Protocol):
    """What a mean needs of a task's score."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy."""

    @property
    def chance(self) -> float:
        """Accuracy of guessing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatCore:
    """The mean, its 95% interval, and the tasks that are in it."""

    value: float
    low: float
    high: float
    tasks: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "tasks": list(self.tasks)}


def centred(accuracy: float, chance: float) -> float:
    """0 for guessing, 1 for perfect, below 0 for worse than guessing."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else 0.0


def chatcore(scores: Mapping[str, Scored], needed: Sequence[str], optional: Sequence[str] = ()) -> ChatCore | None:
    """The mean of the centred accuracies; None where a needed task has not been scored.

    The interval is that of a sum of independent shares, from their own intervals (MOVER, Zou and Donner 2008).

    Args:
        scores: by the name of the task.
        needed: the tasks it is made of.
        optional: tasks that are in it too where they have been scored.
    """
    if any(name not in scores for name in needed):
        return None
    names = (*needed, *(name for name in optional if name in scores))
    value, below, above = 0.0, 0.0, 0.0
    for name in names:
        score = scores[name]
        low, high = score.interval
        scale = 1 / (1 - score.chance) / len(names)
        value += centred(score.accuracy, score.chance) / len(names)
        below += ((score.accuracy - low) * scale) ** 2
        above += ((high - score.accuracy) * scale) ** 2
    return ChatCore(value=value, low=value - math.sqrt(below), high=value + math.sqrt(above), tasks=names)
