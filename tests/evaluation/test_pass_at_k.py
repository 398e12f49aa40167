"""pass@k against counting all choices, and its interval against simulation."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from nanochat.evaluation.interval import wilson
from nanochat.evaluation.pass_at_k import ks_of, mean_and_interval, pass_at_k


def test_it_is_the_share_of_choices_with_a_right_one() -> None:
    for n in range(1, 7):
        for correct in range(n + 1):
            answers = [at < correct for at in range(n)]
            for k in range(1, n + 1):
                choices = list(combinations(answers, k))
                assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_which_k() -> None:
    assert ks_of(1) == (1,)
    assert ks_of(8) == (1, 2, 4, 8)
    assert ks_of(10) == (1, 2, 4, 8, 10)


def test_the_interval_of_single_answers_is_that_of_a_proportion() -> None:
    values = [1.0] * 30 + [0.0] * 70
    mean, low, high = mean_and_interval(values)
    assert mean == 0.3
    assert (low, high) == pytest.approx(wilson(30, 100), abs=0.003)


def test_without_spread_every_problem_is_one_trial() -> None:
    assert mean_and_interval([0.0] * 20, 8) == (0.0, *wilson(0, 20))
    assert mean_and_interval([1.0] * 20, 8) == (1.0, *wilson(20, 20))
    assert mean_and_interval([]) == (0.0, 0.0, 1.0)


def test_it_covers_the_truth_as_often_as_it_says() -> None:
    """Problems of differing difficulty, four answers each: the mean difficulty lies within in 95% of the trials."""
    rnd = Random(5)
    inside = 0
    for _ in range(600):
        chances = [rnd.random() ** 2 for _ in range(50)]
        values = [sum(rnd.random() < chance for _ in range(4)) / 4 for chance in chances]
        _, low, high = mean_and_interval(values, 4)
        inside += low <= 1 / 3 <= high
    assert 0.92 < inside / 600 < 0.98
