"""Keys and values of the tokens a model has read, so that each new one costs one step and not the whole text.

Rows may be of different lengths: a row's tokens lie at its start, what is behind them is padding that later
tokens overwrite and the mask hides. Left out: windows do not free the tokens that fell out of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nanochat.config.model import ModelConfig

GRAIN = 64  # capacity comes in multiples of this many tokens


class KVCache:
    """A `nanochat.model.gpt.Cache`.

    The forward pass calls `extend` and `mask` once for each layer and `advance` once at its end.

    Args:
        config: shape of the model.
        batch: number of rows.
        capacity: tokens to have room for at first; doubled whenever it does not suffice.
        device: where keys and values are kept.
        dtype: their dtype, the compute dtype of the model.

    Attributes:
        positions: (B,) int64, tokens stored in each row.
        smear: (B, 1, C) normed embedding of each row's last token; None before the first one.
    """

    def __init__(
        self, config: ModelConfig, batch: int, capacity: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.config = config
        self.positions = torch.zeros(batch, dtype=torch.int64, device=device)
        self.smear: Tensor | None = None
        self._counts = [0] * batch  # positions as Python knows them: reading the tensor would wait for the device
        shape = (config.n_layer, batch, _round_up(capacity), config.n_kv_head, config.head_dim)
        # Zeros, because a masked weight of 0 times an uninitialised NaN is NaN.
        self._k = torch.zeros(shape, device=device, dtype=dtype)
        self._v = torch.zeros(shape, device=device, dtype=dtype)
        self._step: dict[object, Tensor] = {}  # masks and indices of the running forward pass

    @property
    def batch(self) -> int:
        """Number of rows."""
        return len(self._counts)

    @property
    def counts(self) -> tuple[int, ...]:
        """Tokens stored in each row."""
        return tuple(self._counts)

    @property
    def capacity(self) -> int:
        """Tokens a row can hold before the cache grows."""
        return self._k.size(2)

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store (B, T, K, D) behind each row's tokens: all stored (B, S, K, D), S = longest row + T."""
        length, start = k.size(1), max(self._counts)
        used = start + length
        if used > self.capacity:
            self._grow(used)
        if min(self._counts) == start:
            self._k[layer, :, start:used] = k
            self._v[layer, :, start:used] = v
        else:
            rows, at = self._where(length)
            self._k[layer, rows, at] = k.to(self._k.dtype)
            self._v[layer, rows, at] = v.to(self._v.dtype)
        return self._k[layer, :, :used], self._v[layer, :, :used]

    def mask(self, length: int, window: int | None) -> Tensor:
        """(B, 1, T, S) bool: a query sees its row up to itself, at most `window` tokens back."""
        key = (length, window)
        if key not in self._step:
            self._step[key] = self._mask(length, window)
        return self._step[key]

    def _mask(self, length: int, window: int | None) -> Tensor:
        device, start = self.positions.device, max(self._counts)
        steps = torch.arange(length, device=device)
        if min(self._counts) == start:
            at = (start + steps)[None, :, None]  # (1, T, 1): one mask for all rows
        else:
            at = (self.positions[:, None] + steps)[..., None]  # (B, T, 1)
        distance = at - torch.arange(start + length, device=device)  # (B or 1, T, S)
        seen = distance >= 0
        if window is not None and window < start + length - 1:
            seen &= distance <= window
        return seen[:, None].expand(self.batch, -1, -1, -1)

    def advance(self, embeddings: Tensor, lengths: Tensor | None) -> None:
        """Count (B, T, C) new tokens as stored, of which only `lengths` (B,) are real when given."""
        length = embeddings.size(1)
        self._step.clear()
        if lengths is None:
            added = [length] * self.batch
            self.positions = self.positions + length
        else:
            added = [int(n) for n in lengths.tolist()]
            self.positions = self.positions + lengths.to(self.positions)
        self._counts = [count + more for count, more in zip(self._counts, added, strict=True)]
        if self.config.smear:
            self.smear = self._last(embeddings, added)

    def _last(self, embeddings: Tensor, added: list[int]) -> Tensor:
        """(B, 1, C) embedding of each row's last real token; of one that got none, what it was."""
        if min(added) == embeddings.size(1):
            return embeddings[:, -1:].clone()
        at = torch.tensor(added, device=embeddings.device)
        rows = torch.arange(self.batch, device=embeddings.device)
        last = embeddings[rows, (at - 1).clamp_min(0)][:, None]
        before = torch.zeros_like(last) if self.smear is None else self.smear
        return torch.where((at > 0)[:, None, None], last, before)

    def expand(self, n: int) -> KVCache:
        """A cache of `n` rows that each hold what the only row of this one holds."""
        if self.batch != 1:
            raise ValueError(f"only a cache of one row can be expanded, this one has {self.batch}")
        used = self._counts[0]
        copy = KVCache(self.config, n, self.capacity, self.positions.device, self._k.dtype)
        copy._k[:, :, :used] = self._k[:, :, :used]
        copy._v[:, :, :used] = self._v[:, :, :used]
        copy.positions = self.positions.repeat(n)
        copy._counts = self._counts * n
        copy.smear = None if self.smear is None else self.smear.expand(n, -1, -1)
        return copy

    def select(self, rows: list[int]) -> None:
        """Keep only these rows, in this order, at least one of them."""
        at = torch.tensor(rows, device=self.positions.device)
        used, kept = max(self._counts[row] for row in rows), len(rows)
        for layer in range(self.config.n_layer):  # one layer at a time, so that the copy costs little memory
            for stored in (self._k[layer], self._v[layer]):
                stored[:kept, :used] = stored[at, :used]
        self._k, self._v = self._k[:, :kept], self._v[:, :kept]
        self.positions = self.positions[at]
        self._counts = [self._counts[row] for row in rows]
        self.smear = None if self.smear is None else self.smear[at]
        self._step.clear()

    def _where(self, length: int) -> tuple[Tensor, Tensor]:
        """Indices (B, 1) and (B, T) of the places of the next `length` tokens."""
        key = ("where", length)
        if key not in self._step:
            self._step[key] = self.positions[:, None] + torch.arange(length, device=self.positions.device)
        return torch.arange(self.batch, device=self.positions.device)[:, None], self._step[key]

    def _grow(self, needed: int) -> None:
        capacity = _round_up(max(needed, 2 * self.capacity))
        used = max(self._counts)  # the first layer grows it for all of them, so nothing newer is lost
        for name in ("_k", "_v"):
            old: Tensor = getattr(self, name)
            new = torch.zeros((*old.shape[:2], capacity, *old.shape[3:]), device=old.device, dtype=old.dtype)
            new[:, :, :used] = old[:, :, :used]
            setattr(self, name, new)


def _round_up(count: int) -> int:
    return -(-max(count, 1) // GRAIN) * GRAIN
