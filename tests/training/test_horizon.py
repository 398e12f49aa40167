"""The length of a run."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.config.model import ModelConfig, era_config, model_shape
from nanochat.model.sizes import count_parameters
from nanochat.training.horizon import optimal_batch, plan_horizon


def of_depth(depth: int, **shape: int) -> ModelConfig:
    return era_config("D", **{**model_shape(depth), **shape})


def test_the_reference_depth_has_the_reference_batch() -> None:
    horizon = plan_horizon(of_depth(12))
    assert horizon.batch_tokens == 2**19
    assert horizon.batch_scale == 1
    assert horizon.weight_decay == pytest.approx(0.28)
    scaling = 12 * 12 * 768**2 + 6 * 12 * 6 + 32_768 * 768  # blocks, gates of every second layer, lm_head
    assert horizon.steps == math.ceil(12 * scaling / 2**19)
    assert horizon.tokens == horizon.steps * 2**19


def test_depth_20() -> None:
    horizon = plan_horizon(of_depth(20))
    matrices = 20 * 12 * 1280**2 + 10 * 12 * 10
    scaling = matrices + 32_768 * 1280
    assert count_parameters(of_depth(20)).scaling == scaling
    assert horizon.batch_tokens == 2**20
    assert horizon.steps == math.ceil(12 * scaling / 2**20)
    reference = count_parameters(of_depth(12)).scaling
    assert horizon.weight_decay == pytest.approx(0.28 * math.sqrt(2) * reference / scaling)
    assert horizon.batch_scale == pytest.approx(math.sqrt(2))


@given(depth=st.integers(1, 40), ratio=st.floats(0.5, 40), vocab=st.sampled_from([512, 4096, 32_768, 65_536]))
def test_batches_are_powers_of_two_that_grow_with_depth(depth: int, ratio: float, vocab: int) -> None:
    horizon = plan_horizon(of_depth(depth, vocab_size=vocab), ratio=ratio)
    assert horizon.batch_tokens & (horizon.batch_tokens - 1) == 0
    assert horizon.tokens == horizon.steps * horizon.batch_tokens
    assert (horizon.batch_tokens <= 2**19) if depth < 12 else (horizon.batch_tokens >= 2**19)
    deeper = plan_horizon(of_depth(depth + 1, vocab_size=vocab), ratio=ratio)
    assert deeper.batch_tokens >= horizon.batch_tokens


def test_optimal_batch() -> None:
    assert optimal_batch(1.0, 1.0) == 2**19
    assert optimal_batch(2 ** (1 / 0.383), 1.0) == 2**20
    assert optimal_batch(2 ** (-3 / 0.383), 1.0) == 2**16


def test_steps_and_batch_can_be_given() -> None:
    horizon = plan_horizon(of_depth(2), steps=7, batch_tokens=3000)
    assert (horizon.steps, horizon.batch_tokens, horizon.tokens) == (7, 3000, 21_000)


def test_at_least_one_step() -> None:
    assert plan_horizon(of_depth(1), ratio=0.001).steps == 1
