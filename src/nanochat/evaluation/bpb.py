"""Bits per byte: a loss that does not depend on the tokenizer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.evaluation.interval import Z_95
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


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitScore:
    """Bits per byte of a sample of text: rows or documents, whose tallies are `parts`."""

    parts: tuple[Tally, ...]

    @property
    def total(self) -> Tally:
        """Of all parts."""
        return Tally(math.fsum(part.nats for part in self.parts), sum(part.bytes for part in self.parts))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval for text like this, from how much the parts differ; None for fewer than two of them."""
        count, total = len(self.parts), self.total
        if count < 2 or not total.bytes:
            return None
        rate = total.nats / total.bytes
        squares = math.fsum((part.nats - rate * part.bytes) ** 2 for part in self.parts)
        half = Z_95 * math.sqrt(squares * count / (count - 1)) / (total.bytes * math.log(2))
        return total.bits_per_byte - half, total.bits_per_byte + half

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values for JSON; `n` counts the parts."""
        low, high = self.interval or (None, None)
        total = self.total
        return {"bpb": total.bits_per_byte, "low": low, "high": high, "n": len(self.parts), "bytes": total.bytes}


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
        nats, target_bytes = _rows(model, ids, targets, lengths)
        yield Tally(float(nats.sum(dtype=torch.float64)), int(target_bytes.sum()))


@torch.no_grad()
def row_tallies(model: GPT, ids: Tensor, targets: Tensor, token_bytes: Sequence[int]) -> list[Tally]:
    """One tally for each row of a batch; the arguments are those of `bits_per_byte`."""
    nats, target_bytes = _rows(model, ids, targets, torch.tensor(token_bytes, device=model.device))
    sums = nats.sum(dim=1, dtype=torch.float64).tolist()
    return [Tally(*row) for row in zip(sums, target_bytes.sum(dim=1).tolist(), strict=True)]


def _rows(model: GPT, ids: Tensor, targets: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) nats of the targets that count, on the CPU, and (B, T) bytes of these."""
    ids, targets = ids.to(model.device), targets.to(model.device)
    losses = model(ids, targets, reduction="none")  # (B, T)
    target_bytes = torch.where(targets >= 0, lengths[targets.clamp_min(0)], 0)
    return (losses * (target_bytes > 0)).cpu(), target_bytes
