"""Which text is kept in which row of the cache, and which one a new text can begin with.

A row that is given back keeps its text until the room is needed. A new text that goes on where such a one ends takes
its row over, and only what is new is read: a conversation's next turn. A new text that shares only the beginning of
another, still being written or not, copies that: another sample of the same prompt, a question asked anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from nanochat.engine.cache import KVCache


class Slots:
    """The rows of a cache.

    Args:
        cache: what they are rows of; only this object cuts and copies them.
    """

    def __init__(self, cache: KVCache) -> None:
        self.cache = cache
        self._texts: list[Sequence[int]] = [[] for _ in range(cache.rows)]
        self._idle = list(range(cache.rows))  # longest unused first

    @property
    def idle(self) -> int:
        """Rows that can be taken."""
        return len(self._idle)

    def shared(self, row: int, text: Sequence[int]) -> int:
        """How many tokens a text can take from a row; at least its last one it must read itself."""
        limit = min(self.cache.lengths[row], len(text) - 1)
        length = common_length(self._texts[row], text, limit)
        return length if self.cache.can_cut(row, length) else 0

    def take(self, text: list[int]) -> int:
        """A row that holds the beginning of a text, as much of it as any row has.

        Args:
            text: it may grow at its end as long as the row is used.
        """
        best = max(range(self.cache.rows), key=lambda row: self.shared(row, text))
        length = self.shared(best, text)
        if best in self._idle and (length == self.cache.lengths[best] or len(self._idle) == 1):
            row = best
            self.cache.cut(row, length)
        else:
            row = self._spare(best)
            self.cache.copy(best, row, length)
        self._idle.remove(row)
        self._texts[row] = text
        return row

    def give_back(self, row: int) -> None:
        """The text of a row goes on no more."""
        self._texts[row] = list(self._texts[row][: self.cache.lengths[row]])
        self._idle.append(row)

    def forget(self) -> None:
        """Empty every row that is not in use."""
        for row in self._idle:
            self.cache.cut(row, 0)
            self._texts[row] = []

    def _spare(self, but: int) -> int:
        """The first empty row, else the longest unused."""
        rows = [row for row in self._idle if row != but]
        return next((row for row in rows if not self.cache.lengths[row]), rows[0])


def common_length(one: Sequence[int], other: Sequence[int], limit: int) -> int:
    """How many tokens two texts begin with alike, `limit` at most."""
    limit = min(limit, len(one), len(other))
    low, high = 0, limit
    while low < high:  # comparing slices is a hundred times as fast as comparing tokens in Python
        middle = (low + high + 1) // 2
        if list(one[low:middle]) == list(other[low:middle]):
            low = middle
        else:
            high = middle - 1
    return low
