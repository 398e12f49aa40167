"""Adapters: a model begins as it was, only they are trained, and merged it does the same."""

from __future__ import annotations

import pytest
import torch
from doubles import random_model
from torch import Tensor

from nanochat.errors import UsageError
from nanochat.model.gpt import GPT
from nanochat.model.lora import adapter_state, adapters_of, add_adapters, load_adapters, merged_state
from nanochat.training.adapters import build_adapter_optimizer

IDS = torch.arange(48).view(2, 24) * 5 % 256


def plain(model: GPT, state: dict[str, Tensor]) -> GPT:
    other = GPT(model.config)
    other.load_state_dict(state)
    return other


def train(model: GPT, steps: int) -> None:
    optimizer = build_adapter_optimizer(model, 0.02)
    for _ in range(steps):
        model(IDS[:, :-1], IDS[:, 1:]).backward()
        optimizer.step(lr_multiplier=1.0, momentum=0.9)
        optimizer.zero_grad()


@pytest.fixture(params=["A", "D"])
def model(request: pytest.FixtureRequest) -> GPT:
    return random_model(request.param)


def test_a_model_begins_as_it_was(model: GPT) -> None:
    before = model(IDS)
    count = add_adapters(model, 4)
    assert torch.equal(model(IDS), before)
    width, layers = model.config.n_embd, model.config.n_layer
    kv_width = model.config.n_kv_head * model.config.head_dim
    per_layer = 2 * 2 * width + 2 * (width + kv_width) + 2 * 5 * width  # c_q and c_proj, c_k and c_v, the MLP
    assert count == 4 * layers * per_layer
    assert len(adapters_of(model)) == 6 * layers


def test_only_adapters_are_trained(model: GPT) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    add_adapters(model, 4)
    first = float(model(IDS[:, :-1], IDS[:, 1:]).detach())
    train(model, 5)
    assert float(model(IDS[:, :-1], IDS[:, 1:]).detach()) < first - 0.1
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(layer.lora_b.abs().max() > 0 for layer in adapters_of(model).values())


def test_merged_it_does_the_same(model: GPT) -> None:
    names = set(model.state_dict())
    add_adapters(model, 4, alpha=2.0)
    train(model, 3)
    state = merged_state(model)
    assert set(state) == names
    torch.testing.assert_close(plain(model, state)(IDS), model(IDS), rtol=1e-4, atol=1e-4)


def test_without_adapters_nothing_is_merged_or_kept(model: GPT) -> None:
    assert merged_state(model).keys() == model.state_dict().keys()
    assert adapter_state(model) == {}


def test_what_is_kept_brings_everything_back_to_the_last_bit(model: GPT) -> None:
    add_adapters(model, 4)
    train(model, 2)
    kept = {name: tensor.clone() for name, tensor in adapter_state(model).items()}
    other = plain(model, merged_state(model))
    add_adapters(other, 4, seed=9)
    load_adapters(other, kept)
    assert torch.equal(other(IDS), model(IDS))
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor)


def test_the_start_follows_the_seed(model: GPT) -> None:
    a, b, c = (random_model("D") for _ in range(3))
    for other, seed in ((a, 1), (b, 1), (c, 2)):
        add_adapters(other, 2, seed=seed)
    firsts = [next(iter(adapters_of(other).values())).lora_a for other in (a, b, c)]
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[0], firsts[2])


def test_a_rank_that_is_too_large_is_refused(model: GPT) -> None:
    with pytest.raises(UsageError, match=r"lora_rank \(64\) must be below the width of the model \(64\)"):
        add_adapters(model, 64)
