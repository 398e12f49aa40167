"""The linear layer, and its product in eight-bit floating point for GPUs that have it.

fp8 is "tensorwise": each operand is divided by its largest absolute value, so that it fills the range of its format,
and the product is multiplied by both again (arXiv 2209.05433). Activations and weights take e4m3, gradients e5m2,
which has two more bits of range and one fewer of precision. Master weights, sums and results keep their dtypes.

Left out on purpose: `lm_head`, whose rounding goes straight into the loss and whose product is computed together with
the loss; the gates, too small to gain; and every pass without gradients: evaluation and inference are not rounded.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.errors import UsageError

FP8_CAPABILITY = (8, 9)  # Ada; then Hopper and later
FP8_MULTIPLE = 16  # of both sizes of a matrix: the kernel's tiles
FP8_SMALLEST = 128  # smaller matrices cost more to quantise than their product saves
E4M3_MAX = 448.0
E5M2_MAX = 57344.0


class Linear(nn.Linear):
    """Bias-free linear layer: float32 master weights, multiplied in the dtype of the input.

    Attributes:
        fp8: multiply in fp8 where gradients are taken; set it with `use_fp8`.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)
        self.fp8 = False

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        weight = self.weight.to(x.dtype)
        if self.fp8 and torch.is_grad_enabled() and x.numel() // x.size(-1) % FP8_MULTIPLE == 0:
            y: Tensor = _Fp8Product.apply(x.reshape(-1, x.size(-1)), weight)
            return y.view(*x.shape[:-1], -1)
        return F.linear(x, weight)


def use_fp8(blocks: nn.Module) -> int:
    """Switch every matrix of `blocks` that is large enough to fp8; how many that are."""
    count = 0
    for layer in blocks.modules():
        if isinstance(layer, Linear) and _fits(layer):
            layer.fp8 = True
            count += 1
    return count


def _fits(layer: Linear) -> bool:
    sizes = (layer.in_features, layer.out_features)
    return min(sizes) >= FP8_SMALLEST and all(size % FP8_MULTIPLE == 0 for size in sizes)


def check_fp8(device: str, capability: tuple[int, int] | None) -> None:
    """Whether a GPU multiplies fp8.

    Raises:
        UsageError: it does not, or there is none.
    """
    if capability is None or capability < FP8_CAPABILITY:
        there = device if capability is None else "one of capability {}.{}".format(*capability)
        raise UsageError(
            f"fp8 needs an NVIDIA GPU of capability 8.9 or later (Ada, Hopper, Blackwell), this is {there}",
            "leave out --fp8",
        )


def quantise(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A tensor in a float8 format, filling its range, and what to multiply it by to have it back.

    Returns:
        The shape of x in `dtype`; a float32 scalar.
    """
    largest = E4M3_MAX if dtype == torch.float8_e4m3fn else E5M2_MAX
    peak = x.abs().amax().float().clamp_min(1e-12)  # zeros stay zeros
    # the division can land a rounding above the largest value, and e4m3 has no infinity to catch it but NaN
    return (x.float() * (largest / peak)).clamp(-largest, largest).to(dtype), peak / largest


def fp8_product(a: Tensor, b: Tensor, scale_a: Tensor, scale_b: Tensor, dtype: torch.dtype, *, fast: bool) -> Tensor:
    """(M, K) times (K, N) in float8, by their scales: (M, N) in `dtype`.

    Args:
        a: its rows are read one after the other.
        b: its columns are: the kernel wants it so.
        fast: sums of products in fewer bits; accurate enough in the forward pass only.
    """
    a = a.contiguous()
    b = b.t().contiguous().t()
    return torch._scaled_mm(a, b, scale_a=scale_a, scale_b=scale_b, out_dtype=dtype, use_fast_accum=fast)


class _Fp8Product(torch.autograd.Function):
    """(N, in) times the transpose of (out, in): (N, out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x8, x_scale = quantise(x, torch.float8_e4m3fn)
        weight8, weight_scale = quantise(weight, torch.float8_e4m3fn)
        ctx.save_for_backward(x8, x_scale, weight8, weight_scale)
        return fp8_product(x8, weight8.t(), x_scale, weight_scale, x.dtype, fast=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        x8, x_scale, weight8, weight_scale = ctx.saved_tensors
        dtype = grads[0].dtype
        grad8, grad_scale = quantise(grads[0], torch.float8_e5m2)
        dx = fp8_product(grad8, weight8, grad_scale, weight_scale, dtype, fast=False)
        dweight = fp8_product(grad8.t(), x8, grad_scale, x_scale, dtype, fast=False)
        return dx, dweight
