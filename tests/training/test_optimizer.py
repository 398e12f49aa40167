"""The combined optimizer: five steps of the reference system, its state, its groups."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, load_file, save
from torch import Tensor, nn

from nanochat.config.model import era_config
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.runtime.devices import cxx_compiler
from nanochat.training.optimizer import Group, LearningRates, Optimizer, build_optimizer

TRAJECTORY = Path(__file__).parent.parent / "golden" / "training" / "trajectory.safetensors"
SHAPE = {"sequence_len": 32, "vocab_size": 64, "n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 32}


@pytest.fixture(scope="module")
def trajectory() -> dict[str, Tensor]:
    return load_file(TRAJECTORY)


def begin(trajectory: dict[str, Tensor]) -> tuple[Optimizer, dict[str, nn.Parameter]]:
    named = {
        name.removeprefix("init."): nn.Parameter(tensor.clone())
        for name, tensor in trajectory.items()
        if name.startswith("init.")
    }
    muon = {name: param for name, param in named.items() if name.startswith("muon")}
    adamw = {name: param for name, param in named.items() if name.startswith("adamw")}
    return Optimizer(
        groups=[
            Group(name="adamw", kind="adamw", params=adamw, lr=0.004, betas=(0.8, 0.96), weight_decay=0.01),
            Group(name="muon", kind="muon", params=muon, lr=0.02, weight_decay=0.28),
        ]
    ), named


def take(optimizer: Optimizer, named: dict[str, nn.Parameter], trajectory: dict[str, Tensor], number: int) -> None:
    for name, param in named.items():
        param.grad = trajectory[f"grad.{number}.{name}"].clone()
    optimizer.step(lr_multiplier=1.0, momentum=0.85 + 0.02 * number)
    optimizer.zero_grad()


def test_reference_trajectory(trajectory: dict[str, Tensor]) -> None:
    optimizer, named = begin(trajectory)
    assert len(named) == 10
    for number in range(5):
        take(optimizer, named, trajectory, number)
        for name, param in named.items():
            after = trajectory[f"after.{number}.{name}"]
            error = (param.detach() - after).norm() / after.norm()
            assert error < 1e-5, (number, name)
            torch.testing.assert_close(param.detach(), after, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cut", [1, 3])
def test_a_saved_state_goes_on_identically(trajectory: dict[str, Tensor], cut: int) -> None:
    straight, named = begin(trajectory)
    for number in range(5):
        take(straight, named, trajectory, number)

    first, halfway = begin(trajectory)
    for number in range(cut):
        take(first, halfway, trajectory, number)
    stored = load(save(first.state_dict()))
    second, resumed = begin(trajectory)
    with torch.no_grad():
        for name, param in resumed.items():
            param.copy_(halfway[name])
    second.load_state_dict(stored)
    for number in range(cut, 5):
        take(second, resumed, trajectory, number)
    assert second.steps == 5
    assert all(torch.equal(named[name], resumed[name]) for name in named)
    left, right = straight.state_dict(), second.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adamw_is_that_of_torch_in_its_plainest_form(weight_decay: float) -> None:
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(5, 3, generator=generator), torch.randn(7, generator=generator)]
    ours, theirs = ([nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    settings = {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-8, "weight_decay": weight_decay}
    twin = torch.optim.AdamW(theirs, foreach=False, fused=False, **settings)
    named = {str(i): param for i, param in enumerate(ours)}
    optimizer = Optimizer([Group(name="all", kind="adamw", params=named, **settings)])
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        optimizer.step(lr_multiplier=1.0, momentum=0.0)
        twin.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_compiled_it_takes_the_same_steps_and_compiles_once_a_shape(trajectory: dict[str, Tensor]) -> None:
    if cxx_compiler() is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    plain, named = begin(trajectory)
    twin, other = begin(trajectory)
    compiled = Optimizer(twin.groups, compile=True)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    for number in range(5):
        take(plain, named, trajectory, number)
        take(compiled, other, trajectory, number)
    shapes = {param.shape for name, param in other.items() if name.startswith("muon")}
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == len(shapes)
    for name, param in named.items():
        torch.testing.assert_close(other[name], param, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict(), rtol=1e-4, atol=1e-5)


def test_a_matrix_may_be_left_out_of_a_step(trajectory: dict[str, Tensor]) -> None:
    """Momenta of the others go on, its own wait."""
    together, named = begin(trajectory)
    alone, other = begin(trajectory)
    out = next(name for name in named if name.startswith("muon"))
    for number in range(3):
        for name, param in [*named.items(), *other.items()]:
            param.grad = trajectory[f"grad.{number}.{name}"].clone()
        if number == 1:
            named[out].grad = None
        waits = named[out].detach().clone()
        together.step(lr_multiplier=1.0, momentum=0.9)
        alone.step(lr_multiplier=1.0, momentum=0.9)
        assert torch.equal(named[out], waits) == (number == 1)
    for name in named:
        assert torch.equal(named[name], other[name]) == (name != out)


def test_loading_takes_a_copy(trajectory: dict[str, Tensor]) -> None:
    first, named = begin(trajectory)
    take(first, named, trajectory, 0)
    stored = first.state_dict()
    second, other = begin(trajectory)
    second.load_state_dict(stored)
    before = {name: tensor.clone() for name, tensor in stored.items()}
    take(second, other, trajectory, 1)
    assert all(torch.equal(before[name], first.state_dict()[name]) for name in before)


def model(era: str = "D") -> GPT:
    return init_weights(GPT(era_config(era, **SHAPE)), 0)


@pytest.mark.parametrize("era", ["A", "D"])
def test_every_parameter_is_in_one_group(era: str) -> None:
    network = model(era)
    optimizer = build_optimizer(network, LearningRates())
    names = [name for group in optimizer.groups for name in group.params]
    assert sorted(names) == sorted(name for name, _ in network.named_parameters())
    for group in optimizer.groups:
        assert (group.kind == "muon") == all(name.startswith("transformer.h.") for name in group.params)


def test_scaling_of_learning_rates() -> None:
    optimizer = build_optimizer(model(), LearningRates(), batch_scale=0.5, weight_decay=0.2)
    groups = {group.name: group for group in optimizer.groups}
    width = math.sqrt(768 / 32)
    expected = {
        "lm_head": (0.008 * width * 0.5, (0.8, 0.96), 0.01),
        "wte": (0.3 * width * 0.5, (0.8, 0.995), 0.001),
        "value_embeds": (0.15 * width * 0.5, (0.8, 0.995), 0.01),
        "resid_lambdas": (0.005 * 0.5, (0.8, 0.95), 0.05),
        "x0_lambdas": (0.5 * 0.5, (0.96, 0.95), 0.0),
        "smear": (0.2, (0.8, 0.95), 0.0),
    }
    for name, (lr, betas, decay) in expected.items():
        assert groups[name].lr == pytest.approx(lr), name
        assert (groups[name].betas, groups[name].weight_decay) == (betas, decay), name
    assert groups["matrices"].lr == pytest.approx(0.01)
    assert groups["matrices"].weight_decay == 0.2


def test_fine_tuning_has_no_decay() -> None:
    optimizer = build_optimizer(model(), LearningRates(), plain=True)
    assert {group.weight_decay for group in optimizer.groups} == {0.0}


def test_scaled_rates() -> None:
    assert LearningRates().scaled(0.5) == LearningRates(
        lm_head=0.004,
        wte=0.15,
        value_embeds=0.075,
        resid_lambdas=0.0025,
        x0_lambdas=0.25,
        smear=0.1,
        matrices=0.01,
    )


def test_parameters_without_a_gradient_stay() -> None:
    network = model()
    optimizer = build_optimizer(network, LearningRates())
    before = {name: param.detach().clone() for name, param in network.named_parameters()}
    network.lm_head.weight.grad = torch.ones_like(network.lm_head.weight)
    optimizer.step(lr_multiplier=1.0, momentum=0.9)
    changed = [name for name, param in network.named_parameters() if not torch.equal(param, before[name])]
    assert changed == ["lm_head.weight"]
    optimizer.zero_grad()
    assert all(param.grad is None for param in network.parameters())


def test_a_multiplier_of_zero_moves_nothing() -> None:
    network = model()
    optimizer = build_optimizer(network, LearningRates(), weight_decay=0.3)
    before = [param.detach().clone() for param in network.parameters()]
    for param in network.parameters():
        param.grad = torch.ones_like(param)
    optimizer.step(lr_multiplier=0.0, momentum=0.9)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
