"""Starting weights."""

from __future__ import annotations

import math

import pytest
import torch

from nanochat.config.model import ERAS, era_config
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights

SHAPE = {"sequence_len": 64, "vocab_size": 300, "n_layer": 4, "n_head": 2, "n_kv_head": 2, "n_embd": 64}


def made(era: str = "D", seed: int = 1) -> GPT:
    return init_weights(GPT(era_config(era, **SHAPE)), seed)


@pytest.mark.parametrize("era", ERAS)
def test_first_loss_is_that_of_a_uniform_guess(era: str) -> None:
    ids = torch.randint(300, (4, 64), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        loss = float(made(era)(ids, ids.roll(-1, 1)))
    assert loss == pytest.approx(math.log(300), abs=0.01)


@pytest.mark.parametrize("era", ERAS)
def test_same_seed_same_weights(era: str) -> None:
    first, second, other = made(era).state_dict(), made(era).state_dict(), made(era, seed=2).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model = GPT(era_config("D", **SHAPE))
    torch.set_rng_state(before)
    init_weights(model, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_projections_out_of_a_block_are_zero() -> None:
    model = made()
    for block in model.blocks:
        assert not block.attn.c_proj.weight.any()
        assert not block.mlp.c_proj.weight.any()


@torch.no_grad()
def test_spreads() -> None:
    model = made()
    bound = math.sqrt(3 / 64)
    assert float(model.transformer["wte"].weight.std()) == pytest.approx(0.8, rel=0.03)
    assert float(model.lm_head.weight.std()) == pytest.approx(0.001, rel=0.03)
    for block in model.blocks:
        for matrix in (block.attn.c_q, block.attn.c_k, block.attn.c_v):
            assert 0.95 * bound < float(matrix.weight.abs().max()) <= bound
        assert 0.95 * 0.4 * bound < float(block.mlp.c_fc.weight.abs().max()) <= 0.4 * bound
    for table in model.value_embeds.values():
        assert 0.95 * bound < float(table.weight.abs().max()) <= bound
    gates = [model.smear_gate.weight, *(b.attn.ve_gate.weight for b in model.blocks if hasattr(b.attn, "ve_gate"))]
    assert len(gates) == 3
    for gate in gates:
        assert 0 <= float(gate.min()) <= float(gate.max()) <= 0.02


def test_scalars() -> None:
    model = made()
    torch.testing.assert_close(model.resid_lambdas.detach(), torch.tensor([1.15, 1.15 - 0.1 / 3, 1.15 - 0.2 / 3, 1.05]))
    torch.testing.assert_close(model.x0_lambdas.detach(), torch.tensor([0.2, 0.15, 0.1, 0.05]))
    assert (model.smear_lambda.item(), model.backout_lambda.item()) == (0.0, pytest.approx(0.2))


def test_one_layer() -> None:
    model = init_weights(GPT(era_config("D", **{**SHAPE, "n_layer": 1})), 0)
    assert model.resid_lambdas.item() == pytest.approx(1.15)
    assert all(torch.isfinite(param).all() for param in model.parameters())
