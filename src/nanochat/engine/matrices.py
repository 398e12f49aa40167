"""Matrices that are multiplied by a few rows at a time, in the form in which that is fastest.

Decoding reads every weight once for each token, so its speed is that of reading them: half the bytes, nearly twice
the tokens. Weights are brought into their form once, when a model is loaded.

`dense` is the compute dtype; on a CPU bfloat16 is laid out anew by oneDNN, which multiplies 8 rows 1.4 times as fast
from there. `int8` keeps one byte for a weight and one scale for each output, and multiplies with the kernel torch
ships for CPUs. Left out: int8 on GPUs, where it would need a compiled kernel to pay.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.errors import UsageError

Matrix = Callable[[Tensor], Tensor]
"""(N, in) -> (N, out), in the dtype of its input."""


def matrix(weight: Tensor, dtype: torch.dtype, device: torch.device, *, int8: bool = False) -> Matrix:
    """A weight (out, in) in the form for `dtype` on `device`.

    Raises:
        UsageError: int8 on a device that has no kernel for it.
    """
    if int8:
        if device.type != "cpu":
            raise UsageError(f"int8 weights are for CPUs, this is {device.type}", "try --dtype bfloat16")
        return _int8(weight)
    weight = weight.to(device=device, dtype=dtype)
    if device.type == "cpu" and dtype == torch.bfloat16 and _has_bfloat16():
        return _packed(weight)
    return lambda x: F.linear(x, weight)


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(out, in) -> int8 (out, in) and float32 (out,) scales, the largest weight of each output being 127."""
    weight = weight.float()
    scales = (weight.abs().amax(dim=1) / 127).clamp_min(1e-12)
    return (weight / scales[:, None]).round().to(torch.int8), scales


def _has_bfloat16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _int8(weight: Tensor) -> Matrix:
    weight8, scales = quantise(weight)
    scales = scales.to(torch.bfloat16)

    def multiply(x: Tensor) -> Tensor:
        return torch._weight_int8pack_mm(x, weight8, scales)

    return multiply


def _packed(weight: Tensor) -> Matrix:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)

    def multiply(x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")

    return multiply
