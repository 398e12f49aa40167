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
        gram = x.mT @ x if tall else x @ x.mT
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, x, factor, beta=a) if tall else torch.baddbmm(x, factor, x, beta=a)
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

    Uncompiled, its cost beside the products is passes over memory, so there are few of them: each rescaling is a
    factor of a row or a column that waits for the next pass.

    Args:
        params: (K, m, n) float32, not changed.
        grads: (K, m, n) float32, overwritten.
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
    update = grads.lerp_(momentum_buffer, momentum)
    rows = update.norm(dim=-1, keepdim=True)
    size = rows.norm(dim=-2, keepdim=True)
    update.mul_(size / math.sqrt(m) / rows.clamp_min(TINY))
    update = orthogonalize(update, dtype)

    over, count = (-1, n) if m >= n else (-2, m)
    mean_square = update.square().mean(dim=over, keepdim=True)
    # brought to the Frobenius norm sqrt(min(m, n)), which is also that of the update in the end
    mean_square = mean_square * (scale := min(m, n) / (count * _total(mean_square)).clamp_min(TINY))
    second_moment.lerp_(mean_square, 1 - NORMUON_BETA2)
    factor = second_moment.clamp_min(TINY).rsqrt()
    factor = factor * (_total(mean_square) / _total(mean_square * factor.square()).clamp_min(TINY)).sqrt()
    update.mul_(factor * scale.sqrt())

    rate = lr * math.sqrt(max(1.0, m / n))
    agrees = (update * params) >= 0
    return params * (1 - rate * weight_decay * agrees) - rate * update


def _total(x: Tensor) -> Tensor:
    return x.sum(dim=(-2, -1), keepdim=True)


def second_moment_shape(m: int, n: int) -> tuple[int, int]:
    """Shape of the running average for one (m, n) matrix."""
    return (m, 1) if m >= n else (1, n)
