"""Best-fit packing: rows filled from a buffer of token sequences.

Two users: plain documents, whose rows are always full (what is cut goes on in a later row), and conversations, whose
rows may end in padding because half a conversation teaches little.

Which lengths are waiting is kept as a set of bits, one for each length up to a row's: to find the longest that fits,
the shortest, or two that fill a room exactly is a handful of operations on integers of T/64 words (33 at T = 2,048),
however many sequences are waiting.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BestFitBuffer(Generic[Item]):
    """Items by length and by age. Of equal length the oldest comes first.

    Args:
        row_len: the longest room there will be. Longer items are held too, but fit nowhere whole.

    Attributes:
        tokens: the lengths of all items, added up.
    """

    def __init__(self, row_len: int) -> None:
        self.tokens = 0
        self._row_len = row_len
        self._items: OrderedDict[int, tuple[int, Item]] = (
            OrderedDict()
        )  # by age: a plain dict is slow to give its first
        self._ages: dict[int, deque[int]] = {}  # of the items of a length, oldest first
        self._lengths = 0  # bit n is set: an item of n tokens is here, n <= row_len
        self._mirrored = 0  # the same bits from the other end: bit row_len - n
        self._age = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, length: int, item: Item) -> None:
        """Put in an item of `length` tokens, at least 1."""
        self._items[self._age] = (length, item)
        if (ages := self._ages.get(length)) is None:
            ages = self._ages[length] = deque()
            self._flip(length)
        ages.append(self._age)
        self.tokens += length
        self._age += 1

    def take_oldest(self) -> Item:
        """Take what has waited longest, of whatever length.

        Raises:
            IndexError: the buffer is empty.
        """
        if not self._items:
            raise IndexError("the buffer is empty")
        length, _ = next(iter(self._items.values()))
        return self._pop(length)  # the oldest of all is the oldest of its length

    def take_largest(self, room: int) -> Item | None:
        """Take the longest item of at most `room` tokens, `room` <= row_len, or None."""
        fitting = self._lengths & ((2 << room) - 1) if room > 0 else 0
        return self._pop(fitting.bit_length() - 1) if fitting else None

    def take_fitting(self, room: int) -> Item | None:
        """Take what fills `room` <= row_len tokens: one item that does exactly, or the longer of two that do
        together, or else the longest that fits, or None.
        """
        if room in self._ages:
            return self._pop(room)
        pairs = self._lengths & (self._mirrored >> (self._row_len - room))  # bit n is set: n and room - n are here
        half, odd = divmod(room, 2)
        if not odd and half in self._ages and len(self._ages[half]) == 1:
            pairs &= ~(1 << half)  # one item is no pair
        return self._pop(pairs.bit_length() - 1) if pairs else self.take_largest(room)

    def take_shortest(self) -> Item:
        """Take the shortest item; when all are longer than a row, the oldest.

        Raises:
            IndexError: the buffer is empty.
        """
        if not self._lengths:
            return self.take_oldest()
        return self._pop((self._lengths & -self._lengths).bit_length() - 1)

    def items(self) -> list[Item]:
        """Everything in it, oldest first."""
        return [item for _, item in self._items.values()]

    def _pop(self, length: int) -> Item:
        ages = self._ages[length]
        _, item = self._items.pop(ages.popleft())
        if not ages:
            del self._ages[length]
            self._flip(length)
        self.tokens -= length
        return item

    def _flip(self, length: int) -> None:
        if length <= self._row_len:
            self._lengths ^= 1 << length
            self._mirrored ^= 1 << (self._row_len - length)
