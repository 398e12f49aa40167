"""Several tasks shuffled into one sequence of conversations, by counts or by weights."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from random import Random

from nanochat.errors import UsageError
from nanochat.tasks.task import Task
from nanochat.tasks.views import Chain
from nanochat.tokenizer.conversation import Conversation


class Mixture(Sequence[Conversation]):
    """A shuffled sequence that takes a number of conversations from each task. It keeps 8 bytes for each of them.

    Args:
        parts: tasks with their counts. A count above the length of its task starts it again: 2 * len(task)
            takes everything twice. None takes everything once.
        seed: order of the whole; nothing else depends on it.
    """

    def __init__(self, parts: Iterable[tuple[Task, int | None]], seed: int = 42) -> None:
        parts = list(parts)
        self._tasks = [task for task, _ in parts]
        self._chain = Chain(parts)
        self.counts = self._chain.counts
        self._order = array("q", range(len(self._chain)))
        Random(seed).shuffle(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Conversation:  # type: ignore[override]
        return self._chain[self._order[index]]

    def task_of(self, index: int) -> Task:
        """The task that conversation `index` comes from, to grade it."""
        return self._tasks[self._chain.part_of(self._order[index])]


def counts_by_weight(sizes: Sequence[int], weights: Sequence[float], total: int = 0) -> list[int]:
    """How many conversations of each part make a mixture of these weights.

    Args:
        sizes: conversations there are of each part.
        weights: shares of the whole, in any unit.
        total: conversations of the mixture, where parts may repeat; 0 is the most that repeats none.

    Raises:
        UsageError: a weight below 0, or none above it.
    """
    if min(weights, default=0) < 0 or not sum(weights):
        raise UsageError(f"weights ({', '.join(map(str, weights))}) must be 0 or more, one above it", "try 1 for each")
    shares = [weight / sum(weights) for weight in weights]
    most = total or min(size / share for size, share in zip(sizes, shares, strict=True) if share)
    return [round(most * share) for share in shares]
