"""Losses far above those before: their updates are left out when that is asked for, and a new level is accepted."""

from __future__ import annotations

import math
import random

import pytest

from nanochat.training.spikes import NEEDED, REMEMBERED, SIGMAS, remember, spike_limit


def noise(count: int, mean: float = 3.0) -> list[float]:
    source = random.Random(1)
    return [source.gauss(mean, 0.1) for _ in range(count)]


def test_too_few_losses_know_no_spike() -> None:
    assert spike_limit([]) == math.inf
    assert spike_limit(noise(NEEDED - 1)) == math.inf
    assert spike_limit(noise(NEEDED)) < math.inf


def test_the_limit_is_six_deviations_above_the_mean() -> None:
    losses = [2.0, 4.0] * NEEDED  # mean 3, standard deviation 1
    assert spike_limit(losses) == pytest.approx(3.0 + SIGMAS)


def test_ordinary_losses_are_below_it() -> None:
    recent: list[float] = []
    for loss in noise(2000):
        assert loss <= spike_limit(recent)
        remember(recent, loss)
    assert len(recent) == REMEMBERED


def test_a_level_that_has_really_risen_is_accepted_soon() -> None:
    recent = noise(REMEMBERED)
    skipped = 0
    for loss in noise(100, mean=5.0):
        skipped += loss > spike_limit(recent)
        remember(recent, loss)
    assert 1 <= skipped < 10
