"""Work done before it is asked for, on a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")

DEPTH = 4


class Ahead(Generic[Item]):
    """The items of an iterator, in order, up to `depth` of them made before they are asked for.

    They are made one after the other on one thread; what the iterator raises is raised where its item would have
    come. The thread begins with the first item asked for, and ends, with what it has in hand, when this object goes.

    Args:
        items: makes the items. Used by that thread only from then on; it must not refer to this object.
        depth: how many to make ahead, at least 1.
    """

    def __init__(self, items: Iterator[Item], depth: int = DEPTH) -> None:
        self._items = items
        self._depth = depth
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._coming: deque[Future[Item]] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Item:
        while len(self._coming) <= self._depth:
            self._coming.append(self._thread.submit(next, self._items))
        return self._coming.popleft().result()
