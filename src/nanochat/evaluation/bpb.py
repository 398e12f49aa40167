"""Bits per byte: a loss that does not depend on the tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from nanochat.model.gpt import GPT


@torch.no_grad()
def bits_per_byte(model: GPT, batches: Iterable[tuple[Tensor, Tensor]], token_bytes: Sequence[int]) -> float:
    """Sum of nats over the targets that count, over ln 2 times the sum of their bytes.

    Special tokens (0 bytes) and ignored targets (-1) do not count, so the value depends neither on padding nor on
    how rows are batched.

    Args:
        model: in any compute dtype.
        batches: ids and targets, both (B, T) int64.
        token_bytes: bytes of each token by id; 0 for special tokens.

    Returns:
        Bits per byte; NaN when nothing counts.
    """
    lengths = torch.tensor(token_bytes, device=model.device)
    nats, total_bytes = 0.0, 0
    for ids, targets in batches:
        ids, targets = ids.to(model.device), targets.to(model.device)
        losses = model(ids, targets, reduction="none")  # (B, T)
        target_bytes = torch.where(targets >= 0, lengths[targets.clamp_min(0)], 0)
        nats += float((losses * (target_bytes > 0)).cpu().sum(dtype=torch.float64))
        total_bytes += int(target_bytes.sum())
    return nats / (math.log(2) * total_bytes) if total_bytes else math.nan
