"""Two results of CORE, item by item: the second model against the first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nanochat.errors import UsageError
from nanochat.evaluation.core.result import CoreResult, CoreScore
from nanochat.evaluation.interval import Z_95
from nanochat.evaluation.paired import Paired, normal_p_value, paired


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskDifference:
    """One task of both."""

    name: str
    first: CoreScore
    second: CoreScore
    paired: Paired


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreDifference:
    """What the two can be compared on.

    Attributes:
        tasks: asked with the same items and examples.
        others: names of tasks that only one has, or that were asked otherwise.
    """

    tasks: tuple[TaskDifference, ...]
    others: tuple[str, ...]

    @property
    def means(self) -> tuple[float, float]:
        """Mean centred accuracy of both over `tasks`: CORE where these are all."""
        count = len(self.tasks)
        first, second = (
            math.fsum(score.centred for score in scores) / count
            for scores in ([task.first for task in self.tasks], [task.second for task in self.tasks])
        )
        return first, second

    @property
    def difference(self) -> float:
        """Of the means, second minus first."""
        first, second = self.means
        return second - first

    @property
    def variance(self) -> float:
        """Of the difference."""
        terms = [task.paired.variance / (1 - task.first.chance) ** 2 for task in self.tasks]
        return math.fsum(terms) / len(terms) ** 2

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference."""
        half = Z_95 * math.sqrt(self.variance)
        return self.difference - half, self.difference + half

    @property
    def p_value(self) -> float:
        """How often two equally good models would differ at least so much."""
        return normal_p_value(self.difference, self.variance)


def compare(first: CoreResult, second: CoreResult) -> CoreDifference:
    """Pair the items of all tasks that were asked alike.

    Raises:
        UsageError: there is no such task.
    """
    ours = {task.name: task for task in first.tasks}
    theirs = {task.name: task for task in second.tasks}
    tasks = tuple(
        TaskDifference(name=name, first=ours[name], second=score, paired=paired(ours[name].correct, score.correct))
        for name, score in theirs.items()
        if name in ours and _alike(ours[name], score)
    )
    if not tasks:
        raise UsageError(
            "the two were not asked the same items", "run nanochat eval base for both, with the same --max-per-task"
        )
    compared = {task.name for task in tasks}
    return CoreDifference(tasks=tasks, others=tuple(name for name in {**ours, **theirs} if name not in compared))


def _alike(one: CoreScore, other: CoreScore) -> bool:
    return (one.sha256, one.n, one.shots, one.chance) == (other.sha256, other.n, other.shots, other.chance)
