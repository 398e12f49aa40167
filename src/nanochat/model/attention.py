"""The attention product behind one function, and the kernels that can stand in for it in training.

`attend` works everywhere: torch's scaled_dot_product_attention, with sliding windows cut into blocks, or in compiled
training on a CPU, where that is slow, plain products over chunks of queries. Decoding with a
KV cache and evaluation of a loaded model always use it. A model in training may be given another kernel
(`GPT.use_attention`), which `backends.py` chooses; all of them are called as `Attend` says.
"""

from __future__ import annotations

from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from nanochat.model.chunked import chunked, fits
from nanochat.model.windows import blocks_pay, blockwise, window_mask


class Attend(Protocol):
    """Causal attention over T positions, each query seeing itself and at most `window` before it."""

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None) -> Tensor:
        """Q (B, T, H, D), k and v (B, T, K, D) with K dividing H -> (B, T, H, D)."""
        ...


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
    if mask is None and fits(q):
        return chunked(q, k, v, window)
    time = q.size(1)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if mask is None and window is not None and window < time - 1:
        if blocks_pay(time, window):
            return blockwise(q, k, v, window).transpose(1, 2)
        mask = window_mask(time, window, q.device)
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.size(1) != k.size(1)
    )
    return y.transpose(1, 2)
