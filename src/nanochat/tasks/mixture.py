"""Several tasks shuffled into one sequence of conversations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

from nanochat.errors import UsageError
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation


class Mixture(Sequence[Conversation]):
    """A shuffled sequence that takes a number of conversations from each task.

    Args:
        parts: tasks with their counts. A count above the length of its task starts it again: 2 * len(task)
            takes everything twice. None takes everything once.
        seed: order of the whole; nothing else depends on it.
    """

    def __init__(self, parts: Iterable[tuple[Task, int | None]], seed: int = 42) -> None:
        self._tasks: list[Task] = []
        self._places: list[tuple[int, int]] = []
        self.counts: dict[str, int] = {}
        for number, (task, count) in enumerate(parts):
            count = len(task) if count is None else count
            if count < 0 or (count and not len(task)):
                raise UsageError(f"cannot take {count} conversations of {task.name} ({len(task)})", "lower the count")
            self._tasks.append(task)
            self._places += [(number, index % len(task)) for index in range(count)]
            self.counts[task.name] = self.counts.get(task.name, 0) + count
        Random(seed).shuffle(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
        task, row = self._places[index]
        return self._tasks[task][row]

    def task_of(self, index: int) -> Task:
        """The task that conversation `index` comes from, to grade it."""
        return self._tasks[self._places[index][0]]
