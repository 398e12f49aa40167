"""Sliding-window attention at the price of the window, out of a kernel that knows none.

A mask over (T, T) makes a window dearer than none: the kernel visits every pair all the same, and reads a mask
besides. Cut into blocks of `window` positions, a query sees a part of its own block and a part of the one before, so
each block needs the keys of two and nothing else is multiplied. The blocks go into the batch, and one mask of
(window, 2 * window) serves all of them. Measured on two cores at T = 2,048 and a window of 512, forward and backward
in float32 (bfloat16): the mask takes 1.85 (1.85) times as long as no window, blocks 0.84 (0.95) times.

Left out: blocks smaller than the window. Each would carry a copy of all the keys before it: for a quarter of the
window the keys are copied five times, and CPU time is the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMALLEST_WINDOW = 32  # blocks shorter than this cost more in overhead than they save


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """(T, T) bool: a query sees itself and the `window` positions before it."""
    at = torch.arange(length, device=device)
    distance = at[:, None] - at[None, :]
    return (distance >= 0) & (distance <= window)


def blocks_pay(length: int, window: int) -> bool:
    """Whether blocks multiply fewer pairs than the T * T of a mask.

    The first block, causal alone, is w * w / 2 pairs; each other one, the last padded to its full length, 2 * w * w.
    """
    others = -(-length // window) - 1 if window else 0
    return window >= SMALLEST_WINDOW and (4 * others + 1) * window * window < 2 * length * length


def blockwise(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """Causal attention in which a query sees itself and the `window` positions before it.

    Args:
        q: (B, H, T, D).
        k: (B, K, T, D) with K dividing H, as v.
        window: w, from 1 to T - 1.

    Returns:
        (B, H, T, D).
    """
    batch, time = q.size(0), q.size(2)
    padding = -time % window  # at the end: no real query sees what lies behind it
    if padding:
        q, k, v = (F.pad(x, (0, 0, 0, padding)) for x in (q, k, v))
    grouped = q.size(1) != k.size(1)
    first = F.scaled_dot_product_attention(
        q[:, :, :window], k[:, :, :window], v[:, :, :window], is_causal=True, enable_gqa=grouped
    )
    place = torch.arange(window, device=q.device)[:, None]
    key = torch.arange(2 * window, device=q.device)  # w keys of the block before, then w of the query's own
    mask = (key >= place) & (key <= place + window)
    keys, values = (
        torch.cat((_blocks(x[:, :, :-window], window), _blocks(x[:, :, window:], window)), dim=2) for x in (k, v)
    )
    rest = F.scaled_dot_product_attention(
        _blocks(q[:, :, window:], window), keys, values, attn_mask=mask, enable_gqa=grouped
    )
    return torch.cat((first, _joined(rest, batch)), dim=2)[:, :, :time]


def _blocks(x: Tensor, window: int) -> Tensor:
    """(B, H, n*w, D) -> (B*n, H, w, D)."""
    batch, heads, time, dim = x.shape
    return x.reshape(batch, heads, time // window, window, dim).transpose(1, 2).flatten(0, 1)


def _joined(x: Tensor, batch: int) -> Tensor:
    """(B*n, H, w, D) -> (B, H, n*w, D): the inverse of `_blocks`."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)
