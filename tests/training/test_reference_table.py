"""Sizes, horizon, schedules and rates at d4, d12, d20 and d26, against the formulas written out a second time.

The right-hand sides use numbers only: none of the functions under test, no config.
"""

from __future__ import annotations

import math

import pytest
import torch

from nanochat.config.model import ModelConfig, era_config, model_shape
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.model.sizes import count_parameters, flops_per_token
from nanochat.training.horizon import CLASSIC, MODERN, plan_horizon
from nanochat.training.optimizer import LearningRates, build_optimizer
from nanochat.training.schedule import lr_multiplier, muon_momentum, weight_decay_at

DEPTHS = [4, 12, 20, 26]
WIDTH = {4: 256, 12: 768, 20: 1280, 26: 1664}
HEADS = {4: 2, 12: 6, 20: 10, 26: 13}
VOCAB, CONTEXT = 32_768, 2048


def modern(depth: int) -> ModelConfig:
    return era_config("D", vocab_size=VOCAB, sequence_len=CONTEXT, **model_shape(depth))


def classic(depth: int) -> ModelConfig:
    return era_config("A", vocab_size=65_536, sequence_len=CONTEXT, **model_shape(depth))


def scaling(depth: int) -> int:
    """Block matrices (4 C^2 of attention, 8 C^2 of MLP, a gate of 12 per head in every second layer) and lm_head."""
    return depth * 12 * WIDTH[depth] ** 2 + depth // 2 * 12 * HEADS[depth] + VOCAB * WIDTH[depth]


@pytest.mark.parametrize("depth", DEPTHS)
def test_parameters(depth: int) -> None:
    width = WIDTH[depth]
    counts = count_parameters(modern(depth))
    assert counts.wte == counts.lm_head == VOCAB * width
    assert counts.value_embeds == depth // 2 * VOCAB * width
    assert counts.matrices == scaling(depth) - VOCAB * width
    assert counts.scalars == 2 * depth + 24 + 1 + 1
    assert counts.scaling == scaling(depth)
    plain = count_parameters(classic(depth))
    assert plain.total == 2 * 65_536 * width + depth * 12 * width**2


@pytest.mark.parametrize("depth", DEPTHS)
def test_flops_per_token(depth: int) -> None:
    # SSSL, tiled, the last layer long whatever the pattern says there
    spans = [CONTEXT if i % 4 == 3 or i == depth - 1 else CONTEXT // 4 for i in range(depth)]
    width = WIDTH[depth]
    assert flops_per_token(modern(depth)) == 6 * (scaling(depth) + 24) + sum(12 * width * span for span in spans)
    linear = 65_536 * width + depth * 12 * width**2
    assert flops_per_token(classic(depth)) == 6 * linear + depth * 12 * width * CONTEXT


@pytest.mark.parametrize(("depth", "batch"), [(4, 2**18), (12, 2**19), (20, 2**20), (26, 2**20)])
def test_horizon(depth: int, batch: int) -> None:
    growth = scaling(depth) / scaling(12)
    assert abs(math.log2(2**19 * growth**0.383) - math.log2(batch)) <= 0.5
    horizon = plan_horizon(modern(depth))
    assert horizon.batch_tokens == batch
    assert horizon.steps == math.ceil(12 * scaling(depth) / batch)
    assert horizon.tokens == horizon.steps * batch
    assert horizon.batch_scale == pytest.approx(math.sqrt(batch / 2**19))
    assert horizon.weight_decay == pytest.approx(0.28 * math.sqrt(batch / 2**19) / growth)
    short = plan_horizon(modern(depth), ratio=8.0)
    assert short.steps == math.ceil(8 * scaling(depth) / batch)
    assert (short.batch_tokens, short.weight_decay) == (batch, horizon.weight_decay)  # the ratio cancels


@pytest.mark.parametrize("depth", DEPTHS)
def test_classic_horizon(depth: int) -> None:
    total, total_12 = (2 * 65_536 * WIDTH[d] + d * 12 * WIDTH[d] ** 2 for d in (depth, 12))
    horizon = plan_horizon(classic(depth), rule=CLASSIC)
    assert horizon.batch_tokens == 524_288
    assert horizon.steps == math.ceil(20 * total / 524_288)
    assert horizon.weight_decay == pytest.approx(0.28 * total_12 / total)


def test_the_known_run() -> None:
    """Era A's d20 is known for 561M parameters, 11.2B tokens and 21,400 steps."""
    horizon = plan_horizon(classic(20), rule=CLASSIC)
    assert (horizon.steps, round(horizon.tokens / 1e9, 1)) == (21_400, 11.2)


@pytest.mark.parametrize("depth", DEPTHS)
def test_horizon_by_flops_and_by_steps(depth: int) -> None:
    config = modern(depth)
    batch = plan_horizon(config).batch_tokens
    by_flops = plan_horizon(config, flops=1e18)
    assert by_flops.steps == max(1, round(1e18 / (flops_per_token(config) * batch)))
    assert by_flops.batch_tokens == batch
    assert plan_horizon(config, flops=1e18, steps=7).steps == 7
    assert plan_horizon(config, steps=7).weight_decay == plan_horizon(config, rule=MODERN).weight_decay


@pytest.mark.parametrize("depth", DEPTHS)
def test_learning_rates(depth: int) -> None:
    with torch.device("meta"):
        model = GPT(modern(depth))
    horizon = plan_horizon(modern(depth))
    optimizer = build_optimizer(
        model, LearningRates(), batch_scale=horizon.batch_scale, weight_decay=horizon.weight_decay
    )
    width, batch = (WIDTH[depth] / 768) ** -0.5, math.sqrt(horizon.batch_tokens / 2**19)
    table = {  # lr, betas, weight decay
        "lm_head": (0.008 * width * batch, (0.8, 0.96), 0.01),
        "wte": (0.3 * width * batch, (0.8, 0.995), 0.001),
        "value_embeds": (0.15 * width * batch, (0.8, 0.995), 0.01),
        "resid_lambdas": (0.005 * batch, (0.8, 0.95), 0.05),
        "x0_lambdas": (0.5 * batch, (0.96, 0.95), 0.0),
        "smear": (0.2, (0.8, 0.95), 0.0),
    }
    groups = {group.name: group for group in optimizer.groups}
    assert set(groups) == {*table, "matrices"}
    for name, (lr, betas, decay) in table.items():
        assert groups[name].lr == pytest.approx(lr)
        assert (groups[name].betas, groups[name].weight_decay, groups[name].eps) == (betas, decay, 1e-10)
    assert groups["matrices"].lr == pytest.approx(0.02 * batch)
    assert groups["matrices"].weight_decay == horizon.weight_decay
    trained = [name for group in optimizer.groups for name in group.params]
    assert sorted(trained) == sorted(name for name, _ in model.named_parameters())


@pytest.mark.parametrize("depth", DEPTHS)
def test_schedules(depth: int) -> None:
    horizon = plan_horizon(modern(depth))
    total = horizon.steps
    down = round(0.65 * total)
    for step in {0, 20, 39, 40, 399, 400, total - down - 1, total - down, total - 1} & set(range(total)):
        progress = (total - step) / down
        lr = min((step + 1) / 40, 1.0) if step < 40 else min(1.0, progress + (1 - progress) * 0.05)
        assert lr_multiplier(step, total, warmup=40, warmdown=0.65, final=0.05) == pytest.approx(lr)
        rise = 0.85 + 0.12 * step / 400
        fall = min(0.97, 0.90 + 0.07 * progress)
        assert muon_momentum(step, total, warmdown=0.65) == pytest.approx(rise if step < 400 else fall)
        cosine = 0.5 * (1 + math.cos(math.pi * step / total))
        assert weight_decay_at(step, total, horizon.weight_decay) == pytest.approx(horizon.weight_decay * cosine)


@pytest.mark.parametrize("depth", DEPTHS)
def test_starting_scalars(depth: int) -> None:
    """At full depth and small width: the scalars depend on the depth alone."""
    shape = {"sequence_len": 8, "vocab_size": 265, "n_layer": depth, "n_head": 2, "n_kv_head": 2, "n_embd": 64}
    model = init_weights(GPT(era_config("D", **shape)), 0)
    expected = [(1.15 - 0.10 * i / (depth - 1), 0.20 - 0.15 * i / (depth - 1)) for i in range(depth)]
    found = list(zip(model.resid_lambdas.tolist(), model.x0_lambdas.tolist(), strict=True))
    assert found == [pytest.approx(pair) for pair in expected]
