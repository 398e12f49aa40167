"""Several tasks shuffled into one sequence of conversations."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from random import Random

from nanochat.errors import UsageError
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation


class Mixture(Sequence[Conversation]):
    """A shuffled sequence that takes a number of conversations from each task. It keeps 8 bytes for each of them.

    Args:
        parts: tasks with their counts. A count above the length of its task starts it again: 2 * len(task)
            takes everything twice. None takes everything once.
        seed: order of the whole; nothing else depends on it.
    """

    def __init__(self, parts: Iterable[tuple[Task, int | None]], seed: int = 42) -> None:
        self._tasks: list[Task] = []
        self._begins: list[int] = []
        self.counts: dict[str, int] = {}
        total = 0
        for task, count in parts:
            count = len(task) if count is None else count
            if count < 0 or (count and not len(task)):
                raise UsageError(f"cannot take {count} conversations of {task.name} ({len(task)})", "lower the count")
            self._tasks.append(task)
            self._begins.append(total)
            total += count
            self.counts[task.name] = self.counts.get(task.name, 0) + count
        self._order = array("q", range(total))
        Random(seed).shuffle(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
        number, row = self._place(index)
        task = self._tasks[number]
        return task[row % len(task)]

    def task_of(self, index: int) -> Task:
        """The task that conversation `index` comes from, to grade it."""
        return self._tasks[self._place(index)[0]]

    def _place(self, index: int) -> tuple[int, int]:
        at = self._order[index]
        number = bisect_right(self._begins, at) - 1
        return number, at - self._begins[number]
