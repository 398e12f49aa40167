"""What a model scored: by task with interval and chance, and CORE, the mean of the centred accuracies.

Centred is (accuracy - chance) / (1 - chance): 0 is guessing, 1 is perfect. The interval of CORE is propagated from
the tasks: the variance of a mean of independent shares, each taken with two more right and two more wrong answers
(after Agresti and Coull 1998), so that none of 24 right is not taken for certain. Left out: that a few tasks ask the
same items in two ways, and what another training run would have given; seven alike spanned 0.251 to 0.268.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.evaluation.interval import Z_95, wilson


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreScore:
    """One task: which of its items were right, in the order they are drawn in, and what the items are.

    Attributes:
        name: of the task.
        chance: what guessing gives.
        shots: examples shown before each item.
        correct: one for each item.
        sha256: of the file the items are drawn from.
    """

    name: str
    chance: float
    shots: int
    correct: tuple[bool, ...]
    sha256: str

    @property
    def n(self) -> int:
        """Items."""
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return sum(self.correct) / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy."""
        return wilson(sum(self.correct), self.n)

    @property
    def centred(self) -> float:
        """Accuracy above chance, as a share of what there is above it."""
        return (self.accuracy - self.chance) / (1 - self.chance)

    @property
    def variance(self) -> float:
        """Of `centred`."""
        share = (sum(self.correct) + 2) / (self.n + 4)
        return share * (1 - share) / max(1, self.n) / (1 - self.chance) ** 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `items` has a digit for each item."""
        low, high = self.interval
        return {
            "accuracy": self.accuracy,
            "correct": sum(self.correct),
            "n": self.n,
            "low": low,
            "high": high,
            "chance": self.chance,
            "centred": self.centred,
            "shots": self.shots,
            "items": "".join(str(int(right)) for right in self.correct),
            "data_sha256": self.sha256,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreResult:
    """All tasks. CORE only deserves its name when `tasks` are all of it."""

    tasks: tuple[CoreScore, ...]

    @property
    def value(self) -> float:
        """Mean of the centred accuracies."""
        return math.fsum(task.centred for task in self.tasks) / len(self.tasks)

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of `value`."""
        half = Z_95 * math.sqrt(math.fsum(task.variance for task in self.tasks)) / len(self.tasks)
        return self.value - half, self.value + half

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        low, high = self.interval
        return {
            "value": self.value,
            "low": low,
            "high": high,
            "n": sum(task.n for task in self.tasks),
            "tasks": {task.name: task.to_dict() for task in self.tasks},
        }


def read_result(value: Any) -> CoreResult | None:
    """The inverse of `CoreResult.to_dict`; None for anything else."""
    tasks = value.get("tasks") if isinstance(value, Mapping) else None
    if not isinstance(tasks, Mapping) or not tasks:
        return None
    try:
        return CoreResult(tasks=tuple(_read_score(str(name), task) for name, task in tasks.items()))
    except (KeyError, TypeError, ValueError):
        return None


def _read_score(name: str, task: Mapping[str, Any]) -> CoreScore:
    items: Sequence[str] = task["items"]
    return CoreScore(
        name=name,
        chance=float(task["chance"]),
        shots=int(task["shots"]),
        correct=tuple(bool(int(digit)) for digit in items),
        sha256=str(task["data_sha256"]),
    )
