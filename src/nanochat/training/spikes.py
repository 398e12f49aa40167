"""Losses that stand far above those before: leaving out their updates keeps one bad batch from undoing many good ones.

The limit is six standard deviations above the mean of the last losses (arXiv 2501.00656, section 3.2). A spike is
remembered like any other loss, so that a level which has really risen is soon accepted.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

SIGMAS = 6.0
REMEMBERED = 128
NEEDED = 64  # losses before which nothing is called a spike: the first ones fall fast


def spike_limit(recent: Sequence[float]) -> float:
    """The highest loss, in nats, that is no spike after `recent`; infinity when these are too few to tell."""
    if len(recent) < NEEDED:
        return math.inf
    return statistics.fmean(recent) + SIGMAS * statistics.pstdev(recent)


def remember(recent: list[float], loss: float) -> None:
    """Add a loss; only the last ones are kept."""
    recent.append(loss)
    del recent[:-REMEMBERED]
