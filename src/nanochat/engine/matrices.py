"""Matrices that are multiplied by a few rows at a time, in the form in which that is fastest.

Decoding reads every weight once for each token, so its speed is that of reading them: half the bytes, nearly twice
the tokens. Weights are brought into their form once, when a model is loaded.

`dense` is the compute dtype; on a CPU bfloat16 is laid out anew by oneDNN, which multiplies 8 rows 1.4 times as fast
from there. `int8` keeps one byte for a weight and one scale for each output. Where the processor multiplies bytes
(VNNI) the input becomes bytes too, each row with a scale of its own, and oneDNN multiplies; elsewhere torch's own
kernel takes it as it is. Left out: int8 on GPUs, where it would need a compiled kernel to pay.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.errors import UsageError

ZERO = 128  # the byte that stands for 0
TINY = 1e-30  # a row of zeros has some scale

Matrix = Callable[[Tensor], Tensor]
"""(N, in) -> (N, out), in the dtype of its input."""


def matrix(
    weight: Tensor, dtype: torch.dtype, device: torch.device, *, int8: bool = False, relu: bool = False
) -> Matrix:
    """A weight (out, in) in the form for `dtype` on `device`; with `relu`, negative results are zero.

    Raises:
        UsageError: int8 on a device that has no kernel for it.
    """
    if int8:
        if device.type != "cpu":
            raise UsageError(f"int8 weights are for CPUs, this is {device.type}", "try --dtype bfloat16")
        return _int8(weight, relu)
    weight = weight.to(device=device, dtype=dtype)
    if device.type == "cpu" and dtype == torch.bfloat16 and _has_bfloat16():
        return _packed(weight, relu)
    return lambda x: _cut(F.linear(x, weight), relu)


def _cut(made: Tensor, relu: bool) -> Tensor:
    return made.relu_() if relu else made


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) -> int8 (out, in) and float32 (out,) scales, the largest weight of each output being 127."""
    weight = weight.float()
    scales = (weight.abs().amax(dim=1) / 127).clamp_min(1e-12)
    return (weight / scales[:, None]).round().to(torch.int8), scales


def _has_bfloat16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _has_vnni() -> bool:
    """Without it oneDNN's sums of products of bytes overflow."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported()


def _int8(weight: Tensor, relu: bool) -> Matrix:
    weight8, scales = quantise(weight)
    if _has_vnni():
        return _bytes_by_bytes(weight8, scales, relu)
    scales = scales.to(torch.bfloat16)

    def multiply(x: Tensor) -> Tensor:
        return _cut(torch._weight_int8pack_mm(x, weight8, scales), relu)

    return multiply


def _bytes_by_bytes(weight8: Tensor, scales: Tensor, relu: bool) -> Matrix:
    """Inputs are rounded to -127 to 127, the largest of each row being 127; oneDNN wants them 128 higher."""
    packed = torch.ops.onednn.qlinear_prepack(weight8, None)
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    linear = torch.ops.onednn.qlinear_pointwise.default
    after = "relu" if relu else "none"
    raised = torch.full((1, 1), ZERO + 0.5)  # the half makes cutting off rounding

    def multiply(x: Tensor) -> Tensor:
        largest = torch.linalg.vector_norm(x, torch.inf, dim=1, keepdim=True, dtype=torch.float32).clamp_min_(TINY)
        if len(x) == 1:  # the commonest case, and every operation counts
            scale = largest.item() / 127
            x8 = torch.add(raised, x, alpha=1 / scale).to(torch.uint8)
            return linear(x8, scale, ZERO, packed, scales, zeros, None, 1.0, 0, x.dtype, after, [], "")
        x8 = torch.addcmul(raised, x, largest.reciprocal(), value=127).to(torch.uint8)
        made = linear(x8, 1 / 127, ZERO, packed, scales, zeros, None, 1.0, 0, torch.float32, after, [], "")
        return made.mul_(largest).to(x.dtype)

    return multiply


def _packed(weight: Tensor, relu: bool) -> Matrix:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    after = "relu" if relu else "none"

    def multiply(x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, packed, None, after, [], "")

    return multiply
