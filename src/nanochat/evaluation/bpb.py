"""Bits per byte: a loss that does not depend on the tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.model.gpt import GPT


@dataclass(frozen=True, slots=True)
class Tally:
    """What a model pays for some text: nats over the targets that count, and bytes of these."""

    nats: float = 0.0
    bytes: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.nats + other.nats, self.bytes + other.bytes)

    @property
    def bits_per_byte(self) -> float:
        """NaN when nothing counts."""
        return self.nats / (math.log(2) * self.bytes) if self.bytes else math.nan


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
    return sum(tallies(model, batches, token_bytes), Tally()).bits_per_byte


@torch.no_grad()
def tallies(model: GPT, batches: Iterable[tuple[Tensor, Tensor]], token_bytes: Sequence[int]) -> Iterator[Tally]:
    """One tally for each batch; the arguments are those of `bits_per_byte`."""
    lengths = torch.tensor(token_bytes, device=model.device)
    for ids, targets in batches:
        ids, targets = ids.to(model.device), targets.to(model.device)
        losses = model(ids, targets, reduction="none")  # (B, T)
        target_bytes = torch.where(targets >= 0, lengths[targets.clamp_min(0)], 0)
        nats = (losses * (target_bytes > 0)).cpu().sum(dtype=torch.float64)
        yield Tally(float(nats), int(target_bytes.sum()))
