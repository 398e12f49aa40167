"""How sure a proportion is."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054


def wilson(successes: float, n: float) -> tuple[float, float]:
    """The 95% score interval of a proportion (Wilson 1927), which stays inside 0 to 1 also at 0 and n of n.

    Args:
        successes: how many were right; a fraction where trials are counted by their spread.
        n: of how many.

    Returns:
        Lower and upper end; (0, 1) when n is 0.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + Z_95**2 / (2 * n)) / (1 + Z_95**2 / n)
    half = Z_95 / (1 + Z_95**2 / n) * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
