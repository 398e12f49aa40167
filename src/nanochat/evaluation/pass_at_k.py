"""Several answers to each problem: the chance that one of k is right, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from nanochat.evaluation.interval import wilson


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that one of `k` answers is right, from `n >= k` answers of which `correct` were right.

    The unbiased estimator of Chen et al. 2021 (arXiv 2107.03374): 1 - C(n - correct, k) / C(n, k).
    """
    return 1 - comb(n - correct, k) / comb(n, k)


def ks_of(n: int) -> tuple[int, ...]:
    """The k that are reported for `n` answers: the powers of two below it, and `n` itself."""
    return tuple(2**power for power in range(n.bit_length()) if 2**power < n) + ((n,) if n else ())


def mean_and_interval(values: Sequence[float], most: int = 1) -> tuple[float, float, float]:
    """The mean of one number a problem, with its 95% interval over problems.

    It is that of a proportion (Wilson) whose number of trials gives the spread that the values have; where they have
    none, all right or all wrong, each problem is one trial.

    Args:
        values: each between 0 and 1.
        most: answers behind each value: no more trials than that for each.

    Returns:
        Mean, lower and upper end; (0, 0, 1) of nothing.
    """
    n = len(values)
    if not n:
        return 0.0, 0.0, 1.0
    mean = sum(values) / n
    variance = sum((value - mean) ** 2 for value in values) / max(1, n - 1) / n
    trials = float(n) if variance == 0 else min(max(mean * (1 - mean) / variance, 1.0), float(n * most))
    return mean, *wilson(mean * trials, trials)
