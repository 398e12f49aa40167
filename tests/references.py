"""Attention by its definition, and inputs to compare fast kernels with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def reference(q: Tensor, k: Tensor, v: Tensor, window: int | None = None) -> Tensor:
    """Attention by its definition: q (B, T, H, D), k and v (B, S, K, D), the queries being the last T of S."""
    k, v = (x.repeat_interleave(q.size(2) // k.size(2), dim=2) for x in (k, v))
    scores = torch.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.size(-1))
    at, seen = torch.arange(k.size(1) - q.size(1), k.size(1))[:, None], torch.arange(k.size(1))
    hidden = (seen > at) | (at - seen > (k.size(1) if window is None else window))
    weights = scores.masked_fill(hidden.to(q.device), -math.inf).softmax(-1)
    return torch.einsum("bhts,bshd->bthd", weights, v)


def tensors(time: int, heads: int = 4, kv_heads: int = 2, dim: int = 8, batch: int = 2) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(time)
    return tuple(torch.randn(batch, time, n, dim, generator=generator) for n in (heads, kv_heads, kv_heads))


def with_gradients(function: object, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> list[Tensor]:
    """The result, and the gradients of a sum in which every element weighs differently."""
    inputs = [x.detach().clone().requires_grad_() for x in (q, k, v)]
    y = function(*inputs, window)  # type: ignore[operator]
    weights = torch.linspace(-1, 1, y.numel(), device=y.device).view_as(y)
    (y.float() * weights).sum().backward()
    return [y.detach(), *(x.grad for x in inputs if x.grad is not None)]
