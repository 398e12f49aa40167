"""The Muon update, as pure tensor mathematics on a stack of equally shaped matrices.

Momentum, Nesterov, row equilibration (MuonEq, arXiv 2603.28254), orthogonalisation by five Polar Express steps
(arXiv 2505.16932), rescaling (Muon+, arXiv 2602.21545), per-neuron variance (NorMuon, arXiv 2510.05491) and cautious
weight decay. Left out: which parameters it is for, see `optimizer`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
NORMUON_BETA2 = 0.9
TINY = 1e-10


def orthogonalize(x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: singular values are driven towards 1.

    Args:
        x: (K, m, n).
        dtype: of the iteration; bfloat16 is accurate enough and four times as fast where the machine has it.

    Returns:
        (K, m, n) float32.
    """
    tall = x.size(-2) > x.size(-1)
    x = x.to(dtype)
    x = x / (1.01 * x.norm(dim=(-2, -1), keepdim=True) + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        if tall:
            gram = x.mT @ x
            x = a * x + x @ (b * gram + c * (gram @ gram))
        else:
            gram = x @ x.mT
            x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.float()


def muon_step(
    params: Tensor,
    grads: Tensor,
    momentum_buffer: Tensor,
    second_moment: Tensor,
    *,
    lr: float | Tensor,
    momentum: float | Tensor,
    weight_decay: float | Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """One step.

    Args:
        params: (K, m, n) float32, not changed.
        grads: (K, m, n) float32.
        momentum_buffer: (K, m, n) float32, updated in place.
        second_moment: (K, m, 1) when m >= n, else (K, 1, n); float32, updated in place.
        lr: learning rate before the factor sqrt(max(1, m/n)).
        momentum: 0 to 1.
        weight_decay: relative to the learning rate. These three may be 0-dim tensors: compiled, one code fits all.
        dtype: of the orthogonalisation alone.

    Returns:
        The new parameters, (K, m, n) float32.
    """
    m, n = params.shape[-2:]
    momentum_buffer.lerp_(grads, 1 - momentum)
    update = grads.lerp(momentum_buffer, momentum)
    size = update.norm(dim=(-2, -1), keepdim=True)
    update = update / update.norm(dim=-1, keepdim=True).clamp_min(TINY) * (size / math.sqrt(m))
    update = orthogonalize(update, dtype)
    update = update * (math.sqrt(min(m, n)) / update.norm(dim=(-2, -1), keepdim=True).clamp_min(TINY))

    over = -1 if m >= n else -2
    second_moment.lerp_(update.square().mean(dim=over, keepdim=True), 1 - NORMUON_BETA2)
    size = update.norm(dim=(-2, -1), keepdim=True)
    update = update * second_moment.clamp_min(TINY).rsqrt()
    update = update * (size / update.norm(dim=(-2, -1), keepdim=True).clamp_min(TINY))

    rate = lr * math.sqrt(max(1.0, m / n))
    agrees = (update * params) >= 0
    return params - rate * update - rate * weight_decay * params * agrees


def second_moment_shape(m: int, n: int) -> tuple[int, int]:
    """Shape of the running average for one (m, n) matrix."""
    return (m, 1) if m >= n else (1, n)
