"""Attention against six lines of loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nanochat.model.attention import attend, window_mask


def slow_attend(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """One batch row and head at a time: q (T, D), k and v (S, D)."""
    out = torch.zeros_like(q)
    for t in range(q.size(0)):
        seen = range(max(0, t - window), t + 1)
        weights = torch.tensor([float(q[t] @ k[s]) / math.sqrt(q.size(-1)) for s in seen]).softmax(0)
        out[t] = sum(w * v[s] for w, s in zip(weights, seen, strict=True))
    return out


@pytest.mark.parametrize("window", [0, 1, 3, 7, 8, 100])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_against_loops(window: int, kv_heads: int) -> None:
    generator = torch.Generator().manual_seed(window)
    q = torch.randn(2, 8, 4, 6, generator=generator)
    k, v = (torch.randn(2, 8, kv_heads, 6, generator=generator) for _ in range(2))
    fast = attend(q, k, v, window=window)
    for row in range(2):
        for head in range(4):
            kv = head // (4 // kv_heads)
            slow = slow_attend(q[row, :, head], k[row, :, kv], v[row, :, kv], window)
            torch.testing.assert_close(fast[row, :, head], slow, rtol=1e-5, atol=1e-6)


def test_no_window_is_causal() -> None:
    q, k, v = (torch.randn(1, 5, 2, 4, generator=torch.Generator().manual_seed(i)) for i in range(3))
    torch.testing.assert_close(attend(q, k, v), attend(q, k, v, window=5))
    torch.testing.assert_close(attend(q, k, v)[:, 0], v[:, 0])


def test_window_mask_rows() -> None:
    mask = window_mask(5, 2, torch.device("cpu"))
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0],
        [0, 0, 1, 1, 1],
    ]


def test_explicit_mask_where_lengths_differ() -> None:
    q = torch.randn(1, 2, 2, 4, generator=torch.Generator().manual_seed(0))
    k, v = (torch.randn(1, 5, 1, 4, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    mask = window_mask(5, 1, torch.device("cpu"))[None, None, 3:]
    y = attend(q, k, v, mask=mask)
    for head in range(2):
        full = torch.zeros(5, 4)
        full[3:] = q[0, :, head]
        torch.testing.assert_close(y[0, :, head], slow_attend(full, k[0, :, 0], v[0, :, 0], 1)[3:])
