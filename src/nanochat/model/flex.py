"""Sliding windows by torch's FlexAttention, which compiles a kernel that passes over the blocks a window hides.

Used on CUDA under torch.compile; not compiled it would hold all (T, T) scores. Layers without a window keep plain
causal attention, whose own kernel is as fast.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from nanochat.model.attention import attend


class FlexWindows:
    """An `Attend`.

    Args:
        length: T of training; masks for it are made here, outside of any compiled graph.
        windows: of the model's layers.
        device: where the tensors will be.
    """

    def __init__(self, length: int, windows: tuple[int | None, ...], device: torch.device | str) -> None:
        self._masks = {
            (length, window): block_mask(length, window, torch.device(device))
            for window in {window for window in windows if window is not None and window < length - 1}
        }

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None) -> Tensor:
        """As `attend`; a length it has no mask for, and a call outside of torch.compile, are left to that."""
        mask = self._masks.get((q.size(1), window)) if window is not None else None
        if mask is None or not torch.compiler.is_compiling():
            return attend(q, k, v, window=window)
        return flex(q, k, v, mask)


def block_mask(length: int, window: int, device: torch.device) -> BlockMask:
    """Which blocks of 128 x 128 pairs are seen in full, in part or not at all."""

    def seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query - key <= window)

    return create_block_mask(seen, None, None, length, length, device=device)


def flex(q: Tensor, k: Tensor, v: Tensor, mask: BlockMask) -> Tensor:
    """FlexAttention of q (B, T, H, D), k and v (B, T, K, D): (B, T, H, D)."""
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    y = flex_attention(q, k, v, block_mask=mask, enable_gqa=q.size(1) != k.size(1))
    assert isinstance(y, Tensor)  # with a log-sum-exp only when asked for one
    return y.transpose(1, 2)
