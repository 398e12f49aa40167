"""Steps of the optimizer on several processes: those of one, to the last bit, whatever has to be padded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fleet import optimize, run_fleet

from nanochat.runtime.processes import ALONE

SHAPES = {
    "adamw.wide": (130, 65),  # shared out, in parts of 64 numbers with padding
    "adamw.even": (64, 128),
    "adamw.small": (3, 5),  # updated by everyone
    "muon.a0": (8, 4),
    "muon.a1": (8, 4),
    "muon.a2": (8, 4),
    "muon.a3": (8, 4),
    "muon.a4": (8, 4),  # five of them: one process of two or three has fewer
    "muon.b": (4, 8),  # one alone
}
STEPS = 4


def random_values(seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator).tolist() for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def alone() -> tuple[Any, Any]:
    torch.set_num_threads(1)
    weights, moments = optimize(ALONE, random_values(0), [random_values(step + 1) for step in range(STEPS)])
    return weights, moments


@pytest.mark.parametrize("world_size", [2, 3])
def test_steps_are_those_of_one_process(alone: tuple[Any, Any], world_size: int) -> None:
    ends = run_fleet(world_size, optimize, random_values(0), [random_values(step + 1) for step in range(STEPS)])
    for rank, (weights, moments) in enumerate(ends):
        assert weights == alone[0]
        assert moments == (alone[1] if rank == 0 else None)


def test_momenta_saved_by_any_number_go_on_with_any_other(alone: tuple[Any, Any]) -> None:
    gradients = [random_values(step + 1) for step in range(STEPS)]
    weights, moments = run_fleet(3, optimize, random_values(0), gradients[:1])[0]
    weights, moments = run_fleet(2, optimize, weights, gradients[1:3], moments)[0]
    assert optimize(ALONE, weights, gradients[3:], moments) == alone
