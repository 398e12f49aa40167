"""Products with weights in eight bits, by every kernel there is here."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nanochat.engine import matrices
from nanochat.engine.matrices import Matrix, matrix, quantise

CPU = torch.device("cpu")


@pytest.fixture(params=["bytes by bytes", "bytes by bfloat16"])
def by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    kernel: str = request.param
    if kernel == "bytes by bytes" and not matrices._has_vnni():
        pytest.skip("this processor multiplies no bytes (VNNI)")
    if kernel == "bytes by bfloat16":
        monkeypatch.setattr(matrices, "_has_vnni", lambda: False)
    return kernel


def made(weight: Tensor) -> Matrix:
    return matrix(weight, torch.bfloat16, CPU, int8=True)


def rows(count: int, width: int) -> Tensor:
    """Rows of very different sizes, as the residual stream has them."""
    sizes = torch.logspace(-3, 2, count)[:, None]
    return (torch.randn(count, width, generator=torch.Generator().manual_seed(count)) * sizes).bfloat16()


@pytest.mark.parametrize("count", [1, 2, 8, 130])
def test_eight_bits_are_near_the_full_product(by: str, count: int) -> None:
    weight = torch.randn(96, 256, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 0, 96)[:, None]
    x = rows(count, 256)
    expected = x.float() @ weight.T
    product = made(weight)(x)
    assert product.dtype == torch.bfloat16
    error = (product.float() - expected).norm(dim=1) / expected.norm(dim=1)
    assert error.max() < 0.02  # of each row, however small it is beside the others


def test_a_row_is_multiplied_alike_alone_and_beside_others() -> None:
    if not matrices._has_vnni():
        pytest.skip("this processor multiplies no bytes (VNNI)")
    weight = torch.randn(96, 256, generator=torch.Generator().manual_seed(0))
    x = rows(8, 256)
    multiply = made(weight)
    together = multiply(x)
    for number in range(8):
        alone = multiply(x[number : number + 1])[0]
        # sums of bytes are exact; what is rounded is the result
        torch.testing.assert_close(alone, together[number], rtol=0.008, atol=0)


def test_a_row_of_zeros_gives_zeros(by: str) -> None:
    x = torch.zeros(3, 64, dtype=torch.bfloat16)
    x[1] = 1
    product = made(torch.ones(5, 64))(x)
    assert torch.equal(product[::2], torch.zeros(2, 5, dtype=torch.bfloat16))
    torch.testing.assert_close(product[1], torch.full((5,), 64.0, dtype=torch.bfloat16), rtol=0.01, atol=0)
    assert torch.equal(made(torch.ones(5, 64))(x[:1]), torch.zeros(1, 5, dtype=torch.bfloat16))


def test_weights_are_rounded_to_a_255th_of_the_largest_of_their_output() -> None:
    weight = torch.randn(7, 50, generator=torch.Generator().manual_seed(3)) * torch.logspace(-4, 2, 7)[:, None]
    weight8, scales = quantise(weight)
    assert weight8.abs().amax(dim=1).tolist() == [127] * 7
    error = (weight8 * scales[:, None] - weight).abs().amax(dim=1)
    assert (error <= weight.abs().amax(dim=1) / 254 * 1.001).all()
