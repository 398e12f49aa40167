"""Two models on the same items: is one better, or was it luck?

Only items that exactly one of the two gets right say anything. The test is McNemar's, exact (a sign test of these
items); the interval of the difference is Wald's with half an item added to each of the four cells (Agresti and Min
2005), which also holds where there are few of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nanochat.evaluation.interval import Z_95


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """The second model against the first.

    Attributes:
        n: items.
        gained: those that only the second gets right.
        lost: those that only the first does.
    """

    n: int
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """Of the accuracies, second minus first."""
        return (self.gained - self.lost) / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        """Of the difference, adjusted."""
        size = self.n + 2
        return (self.gained + self.lost + 1 - (self.gained - self.lost) ** 2 / size) / size**2

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the difference."""
        middle, half = (self.gained - self.lost) / (self.n + 2), Z_95 * math.sqrt(self.variance)
        return max(-1.0, middle - half), min(1.0, middle + half)

    @property
    def p_value(self) -> float:
        """How often two equally good models would differ at least so much."""
        told = self.gained + self.lost
        tail = sum(math.comb(told, count) for count in range(min(self.gained, self.lost) + 1))
        return min(1.0, 2 * tail / 2**told)


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare the same items, in the same order.

    Raises:
        ValueError: the numbers of items differ.
    """
    both = list(zip(first, second, strict=True))
    return Paired(n=len(both), gained=sum(b and not a for a, b in both), lost=sum(a and not b for a, b in both))


def normal_p_value(difference: float, variance: float) -> float:
    """The same for a difference whose distribution is normal."""
    return math.erfc(abs(difference) / math.sqrt(2 * variance)) if variance else float(difference == 0)
