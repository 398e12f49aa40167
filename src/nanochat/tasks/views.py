"""Parts of a task, and its conversations in another order: views that copy nothing and grade as the task does."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from nanochat.errors import UsageError
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation

SEED = 42
HELD_OUT = 400
"""Enough problems to tell two models apart."""

HELD_OUT_PART = 10  # of a small task at most a tenth


class View(Task):
    """Some conversations of a task, in an order of their own.

    Args:
        task: where they are from; grading, kind and name are its own.
        rows: their numbers there.
    """

    def __init__(self, task: Task, rows: Sequence[int] | np.ndarray) -> None:
        self.task = task
        self.name, self.kind, self.chance = task.name, task.kind, task.chance
        self.max_new_tokens = task.max_new_tokens
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Conversation:
        return self.task[int(self._rows[index])]

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """As the task."""
        return self.task.grade(conversation, answer)

    def reward(self, conversation: Conversation, answer: str) -> float:
        """As the task."""
        return self.task.reward(conversation, answer)

    def letters(self, conversation: Conversation) -> tuple[str, ...]:
        """As the task."""
        return self.task.letters(conversation)

    def prepare(self) -> None:
        """As the task."""
        self.task.prepare()

    def group(self, index: int) -> str:
        """As the task."""
        return self.task.group(int(self._rows[index]))

    def examples(self, index: int, count: int) -> list[Conversation]:
        """As the task: of all its conversations."""
        return self.task.examples(int(self._rows[index]), count)


def view(task: Task, start: int = 0, stop: int | None = None, step: int = 1) -> Task:
    """Conversations `start`, `start + step`, ... below `stop`, as a slice takes them; the task itself where it is all.

    Raises:
        UsageError: a step of 0, or nothing left of a task that has something.
    """
    if step == 0:
        raise UsageError(f"the step of {task.name} is 0", "take a step of 1 or more")
    rows = range(len(task))[start:stop:step]
    if rows == range(len(task)):
        return task
    if not rows and len(task):
        raise UsageError(
            f"start {start}, stop {stop}, step {step} leave nothing of the {len(task):,} conversations of {task.name}",
            f"choose numbers from 0 to {len(task)}",
        )
    return View(task, rows)


def split_end(task: Task) -> tuple[Task, Task]:
    """All of a task but its end, and that: `HELD_OUT` conversations, at most a tenth.

    For a task without a validation split. The sizes are fixed, so that the same ones are held out in every run.

    Raises:
        UsageError: too few to hold one out.
    """
    count = min(HELD_OUT, len(task) // HELD_OUT_PART)
    if not count:
        raise UsageError(
            f"{task.name} has {len(task)} conversations: too few to hold some out", f"give it {HELD_OUT_PART} or more"
        )
    return view(task, stop=len(task) - count), view(task, start=len(task) - count)


def shuffled(task: Task, seed: int = SEED) -> Task:
    """The task in the order in which the reference system shuffles its rows: numpy's default generator."""
    return View(task, np.random.default_rng(seed).permutation(len(task)))


class Chain(Sequence[Conversation]):
    """Tasks one after the other, each as often as is said.

    Args:
        parts: tasks with how many conversations; a count above the length of its task starts it again, None is all.
    """

    def __init__(self, parts: Sequence[tuple[Task, int | None]]) -> None:
        self._parts = [(task, len(task) if count is None else count) for task, count in parts]
        for task, count in self._parts:
            if count < 0 or (count and not len(task)):
                raise UsageError(f"cannot take {count} conversations of {task.name} ({len(task)})", "lower the count")
        self._ends = list(accumulate(count for _, count in self._parts))
        self.counts: dict[str, int] = {}
        for task, count in self._parts:
            self.counts[task.name] = self.counts.get(task.name, 0) + count

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
        index = range(len(self))[index]
        number = self.part_of(index)
        task, count = self._parts[number]
        return task[(index - self._ends[number] + count) % len(task)]

    def part_of(self, index: int) -> int:
        """The number of the part that conversation `index` comes from."""
        return bisect_right(self._ends, index)
