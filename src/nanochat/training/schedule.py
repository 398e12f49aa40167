"""Learning rate, momentum and weight decay over a run: pure functions of the step."""

from __future__ import annotations

import math


def lr_multiplier(step: int, total: int, *, warmup: int, warmdown: float, final: float) -> float:
    """Linear warm-up over `warmup` steps, then 1, then linearly to `final` over the last `warmdown` of the run.

    Source: warm-up, stable, decay (MiniCPM, arXiv 2404.06395), with the shares of the reference system.

    Args:
        step: the step about to be taken, from 0.
        total: steps in the run.
        warmup: steps; the first of them already moves, by 1/warmup.
        warmdown: share of the run, 0 to 1.
        final: multiplier at the end.
    """
    down = round(warmdown * total)
    if step < warmup:
        return (step + 1) / warmup
    if step < total - down:
        return 1.0
    left = (total - step) / max(1, down)
    return left + (1 - left) * final


def muon_momentum(
    step: int,
    total: int,
    *,
    warmdown: float,
    ramp: int = 400,
    low: float = 0.85,
    high: float = 0.97,
    end: float = 0.90,
) -> float:
    """0.85 to 0.97 over the first 400 steps, which win over the warmdown; there it goes linearly to 0.90.

    Source: the reference system.

    Args:
        step: the step about to be taken, from 0.
        total: steps in the run.
        warmdown: share of the run, 0 to 1, as of the learning rate.
        ramp: steps of the rise.
        low: momentum at the start.
        high: momentum after the rise.
        end: momentum at the end of the run.
    """
    down = round(warmdown * total)
    if step < ramp:
        return low + (high - low) * step / ramp
    if step < total - down:
        return high
    gone = 1 - (total - step) / max(1, down)
    return high + (end - high) * gone


def finetune_momentum(step: int, *, ramp: int = 300) -> float:
    """0.85 to 0.95 over the first 300 steps: the mid and sft stages."""
    return 0.85 + 0.10 * min(1.0, step / ramp)


def weight_decay_at(step: int, total: int, decay: float) -> float:
    """Half a cosine from `decay` at step 0 to 0 at step `total`; Muon's alone. Source: the reference system."""
    return decay * 0.5 * (1 + math.cos(math.pi * step / max(1, total)))
