"""The attention product behind one function, so that faster kernels have one place to go."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """(T, T) bool: a query sees itself and the `window` positions before it."""
    at = torch.arange(length, device=device)
    distance = at[:, None] - at[None, :]
    return (distance >= 0) & (distance <= window)


def attend(q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention.

    Args:
        q: (B, T, H, D).
        k: (B, S, K, D) with K dividing H, as v.
        window: causal attention over T = S positions, each query seeing at most `window` before itself.
        mask: (B, 1, T, S) bool instead, where S differs from T.

    Returns:
        (B, T, H, D).
    """
    time = q.size(1)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if mask is None and window is not None and window < time - 1:
        mask = window_mask(time, window, q.device)
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.size(1) != k.size(1)
    )
    return y.transpose(1, 2)
