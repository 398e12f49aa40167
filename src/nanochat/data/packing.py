"""Best-fit packing: rows filled from a buffer of token sequences, the largest that fits first.

Two users: plain documents, whose rows are always full (what is cut goes on in a later row), and conversations, whose
rows may end in padding because half a conversation teaches little.
"""

from __future__ import annotations

import bisect
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BestFitBuffer(Generic[Item]):
    """A buffer ordered by length. Taking and adding are a binary search; ties go to the oldest."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, int]] = []  # (length, -age) so that the oldest of a length is the last
        self._items: dict[int, Item] = {}
        self._age = 0

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, length: int, item: Item) -> None:
        """Put in an item of `length` tokens."""
        bisect.insort(self._keys, (length, -self._age))
        self._items[self._age] = item
        self._age += 1

    def take_largest(self, room: int) -> Item | None:
        """Take the longest item of at most `room` tokens, or None."""
        at = bisect.bisect_right(self._keys, (room, 1)) - 1
        return self._pop(at) if at >= 0 else None

    def take_shortest(self) -> Item:
        """Take the shortest item.

        Raises:
            IndexError: the buffer is empty.
        """
        return self._pop(bisect.bisect_right(self._keys, (self._keys[0][0], 1)) - 1)

    def items(self) -> list[Item]:
        """Everything in it, oldest first."""
        return [self._items[age] for age in sorted(self._items)]

    def _pop(self, at: int) -> Item:
        _, negative_age = self._keys.pop(at)
        return self._items.pop(-negative_age)
