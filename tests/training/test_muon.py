"""The Muon update piece by piece; whole trajectories are in `test_optimizer`."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nanochat.training.muon import muon_step, orthogonalize, second_moment_shape


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 8, 24), (2, 24, 8), (1, 16, 16), (2, 1, 8)])
def test_orthogonalize_drives_singular_values_to_one(shape: tuple[int, int, int]) -> None:
    x = randn(*shape)
    values = torch.linalg.svdvals(orthogonalize(x))
    assert (values > 0.5).all()
    assert (values < 1.5).all()


def test_orthogonalize_keeps_the_singular_vectors() -> None:
    x = randn(1, 12, 6)
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    inner = u.mT @ orthogonalize(x) @ vh.mT
    assert (inner - torch.diag_embed(inner.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-4


def test_orthogonalize_of_the_transpose_is_the_transpose() -> None:
    x = randn(2, 6, 10)
    torch.testing.assert_close(orthogonalize(x).mT, orthogonalize(x.mT.contiguous()), rtol=1e-3, atol=1e-4)


def step(params: Tensor, grads: Tensor, **dials: float) -> Tensor:
    _, m, n = params.shape
    seconds = torch.zeros(params.size(0), *second_moment_shape(m, n))
    momenta = torch.zeros_like(params)
    return muon_step(
        params, grads.clone(), momenta, seconds, **{"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, **dials}
    )


@pytest.mark.parametrize(("m", "n"), [(8, 24), (24, 8), (8, 8)])
def test_size_of_a_step_depends_on_the_shape_only(m: int, n: int) -> None:
    params = randn(1, m, n)
    for scale in (1e-3, 1.0, 1e3):
        moved = params - step(params, scale * randn(1, m, n, seed=1))
        expected = 0.1 * math.sqrt(max(1, m / n)) * math.sqrt(min(m, n))
        assert float(moved.norm()) == pytest.approx(expected, rel=1e-4)


def test_matrices_of_a_stack_do_not_know_each_other() -> None:
    params, grads = randn(3, 8, 12), randn(3, 8, 12, seed=1)
    together = step(params, grads, weight_decay=0.3)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], step(params[i : i + 1], grads[i : i + 1], weight_decay=0.3))


def test_decay_is_cautious() -> None:
    params, grads = randn(1, 8, 8), randn(1, 8, 8, seed=1)
    plain, decayed = step(params, grads), step(params, grads, weight_decay=0.5)
    update = params - plain
    changed = (decayed - plain) != 0
    assert torch.equal(changed, update * params > 0)
    torch.testing.assert_close((plain - decayed)[changed], (0.1 * 0.5 * params)[changed], rtol=1e-3, atol=1e-6)


def test_a_zero_gradient_moves_nothing() -> None:
    params = randn(1, 4, 6)
    assert torch.equal(step(params, torch.zeros(1, 4, 6)), params)
