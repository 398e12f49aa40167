"""Schedules: ends, plateaus, and no jumps where they meet."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.training.schedule import finetune_momentum, lr_multiplier, muon_momentum, weight_decay_at

SHARE = st.floats(0, 1)


@given(total=st.integers(1, 3000), warmup=st.integers(0, 100), warmdown=SHARE, final=SHARE)
def test_multiplier_stays_within_its_bounds(total: int, warmup: int, warmdown: float, final: float) -> None:
    values = [lr_multiplier(step, total, warmup=warmup, warmdown=warmdown, final=final) for step in range(total)]
    assert all(0 <= value <= 1 + 1e-12 for value in values)
    assert values[0] > 0
    rising, rest = values[:warmup], values[warmup:]
    assert all(a < b for a, b in itertools.pairwise(rising))
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(rest))
    assert all(value >= final - 1e-12 for value in rest)


def test_multiplier_of_the_default_run() -> None:
    values = [lr_multiplier(step, 1000, warmup=40, warmdown=0.65, final=0.05) for step in range(1000)]
    assert values[0] == pytest.approx(1 / 40)
    assert values[39] == 1
    assert set(values[40:351]) == {1.0}
    assert values[351] < 1
    assert values[675] == pytest.approx((1 + 0.05) / 2)
    assert values[999] == pytest.approx(0.05 + 0.95 / 650)
    assert lr_multiplier(1000, 1000, warmup=40, warmdown=0.65, final=0.05) == pytest.approx(0.05)


def test_multiplier_without_warmup_and_without_warmdown() -> None:
    assert {lr_multiplier(step, 10, warmup=0, warmdown=0.0, final=0.0) for step in range(10)} == {1.0}


def test_muon_momentum() -> None:
    values = [muon_momentum(step, 4000, warmdown=0.65) for step in range(4000)]
    assert values[0] == 0.85
    assert values[200] == pytest.approx(0.91)
    assert set(values[400:1401]) == {0.97}
    assert values[2700] == pytest.approx((0.97 + 0.90) / 2)
    assert values[-1] == pytest.approx(0.90, abs=1e-4)


def test_the_ramp_of_the_momentum_wins_over_the_warmdown() -> None:
    values = [muon_momentum(step, 300, warmdown=0.65) for step in range(300)]
    assert all(a < b for a, b in itertools.pairwise(values))
    assert values[-1] == pytest.approx(0.85 + 0.12 * 299 / 400)


@given(total=st.integers(1, 5000), warmdown=SHARE)
def test_muon_momentum_stays_within_its_bounds(total: int, warmdown: float) -> None:
    for step in range(0, total, max(1, total // 50)):
        assert 0.85 <= muon_momentum(step, total, warmdown=warmdown) <= 0.97 + 1e-12


def test_finetune_momentum() -> None:
    assert [finetune_momentum(step) for step in (0, 150, 300, 10_000)] == pytest.approx([0.85, 0.90, 0.95, 0.95])


def test_weight_decay() -> None:
    assert [weight_decay_at(step, 100, 0.28) for step in (0, 50, 100)] == pytest.approx([0.28, 0.14, 0.0])
    assert weight_decay_at(0, 0, 0.28) == 0.28
