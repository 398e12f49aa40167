"""Keys and values of the tokens a model has read, so that each new one costs one step and not the whole text.

Memory for `rows` texts is reserved once and never moved. On a CPU the system hands it out only when it is first
written, so rows that nobody uses cost nothing, and growing copies nothing. A layer with a window keeps the tokens
that its queries can still see, and up to as many before them, so that a text can be taken back by that much.

One forward pass reads any number of new tokens of any number of texts, without padding: a `Pass` lays them in one
row of ids and gives each text's queries its own keys. What a text gets is therefore computed in the same way
whichever others are read beside it. Smear needs no state here: it is a function of the token before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.config.model import ModelConfig
from nanochat.model.attention import attend

LONGEST_PIECE = 256  # tokens of one text in one pass: what a windowed layer has room for beside its window
TAKEN_BACK = 16  # tokens that can always be taken back, as a rejected draft is


@dataclass(frozen=True, slots=True)
class Piece:
    """The next tokens of one text.

    Attributes:
        row: where the text is kept.
        ids: 1 to `LONGEST_PIECE` tokens.
        previous: the token before them; None at the beginning of a text.
    """

    row: int
    ids: Sequence[int]
    previous: int | None = None


class KVCache:
    """Keys and values of `rows` texts of up to `capacity` tokens.

    Args:
        config: shape of the model.
        rows: texts there is room for.
        capacity: tokens of the longest one.
        device: where keys and values are kept.
        dtype: the compute dtype of the model. On a CPU keys and values are float32 all the same: there torch's
            attention of one query takes 15 us in float32 and 155 in bfloat16 (256 keys, 6 heads of 128).

    Attributes:
        lengths: tokens stored in each row.
    """

    def __init__(self, config: ModelConfig, rows: int, capacity: int, device: torch.device, dtype: torch.dtype) -> None:
        self.config = config
        self.capacity = capacity
        self.device = device
        self.dtype = cache_dtype(device, dtype)
        self.windows = tuple(_window(window, capacity) for window in config.window_sizes())
        self.lengths = [0] * rows
        self.sizes = {window: _size(window, capacity) for window in set(self.windows)}
        self._first = {window: [0] * rows for window in self.sizes}  # position of the oldest token that is kept
        shapes = [(rows, self.sizes[window], config.n_kv_head, config.head_dim) for window in self.windows]
        # Elsewhere than on a CPU unwritten memory is multiplied by zero, and NaN times zero is NaN.
        make = torch.empty if device.type == "cpu" else torch.zeros
        self.keys = [make(shape, device=device, dtype=self.dtype) for shape in shapes]
        self.values = [make(shape, device=device, dtype=self.dtype) for shape in shapes]
        # The rows of a layer laid end to end, for writing.
        self.flat = [(k.flatten(0, 1), v.flatten(0, 1)) for k, v in zip(self.keys, self.values, strict=True)]

    @property
    def rows(self) -> int:
        """Texts there is room for."""
        return len(self.lengths)

    def begin(self, pieces: Sequence[Piece]) -> Pass:
        """A forward pass over these pieces, at most one of each row; `Pass.commit` makes it count."""
        for piece in pieces:
            self._make_room(piece.row, len(piece.ids))
        return Pass(self, pieces)

    def can_cut(self, row: int, length: int) -> bool:
        """Whether the first `length` tokens of a row are all that is needed to go on behind them."""
        if length == 0:
            return True
        oldest = ((first[row], 0 if window is None else length - window) for window, first in self._first.items())
        return length <= self.lengths[row] and all(first <= max(0, seen) for first, seen in oldest)

    def cut(self, row: int, length: int) -> None:
        """Forget what stands behind the first `length` tokens of a row."""
        if not self.can_cut(row, length):
            raise ValueError(f"row {row} cannot be cut to {length} tokens: its windows have moved on")
        self.lengths[row] = length
        if length == 0:
            for first in self._first.values():
                first[row] = 0

    def copy(self, source: int, target: int, length: int) -> None:
        """Make a row begin as another does, with its first `length` tokens."""
        if length == 0:
            self.cut(target, 0)
            return
        if not self.can_cut(source, length):
            raise ValueError(f"row {source} does not hold its first {length} tokens")
        for window, keys, values in zip(self.windows, self.keys, self.values, strict=True):
            count = length - self._first[window][source]
            keys[target, :count] = keys[source, :count]
            values[target, :count] = values[source, :count]
        for first in self._first.values():
            first[target] = first[source]
        self.lengths[target] = length

    def first(self, window: int | None, row: int) -> int:
        """Position of the oldest token that a row still keeps in layers of this window."""
        return self._first[window][row]

    def _make_room(self, row: int, count: int) -> None:
        """Move what a window can still see to the front where `count` more tokens would not fit behind it."""
        length = self.lengths[row]
        if length + count > self.capacity:
            raise ValueError(f"{length} and {count} more tokens are beyond the capacity of {self.capacity}")
        for window, first in self._first.items():
            if window is None or length - first[row] + count <= self.sizes[window]:
                continue
            start = max(first[row], length - window - TAKEN_BACK)
            offset, kept = start - first[row], length - start
            for place, keys, values in zip(self.windows, self.keys, self.values, strict=True):
                if place == window:
                    for stored in (keys[row], values[row]):
                        stored[:kept] = stored[offset : offset + kept].clone()
            first[row] = start


class Pass:
    """One forward pass: a `nanochat.model.gpt.Cache`.

    Attributes:
        ids: (1, N) the new tokens of all pieces, one after the other.
        ends: where each piece ends in them.
    """

    wanted: Tensor | None = None

    def __init__(self, cache: KVCache, pieces: Sequence[Piece]) -> None:
        self.cache = cache
        self.pieces = pieces
        ids: list[int] = []
        previous: list[int] = []
        positions: list[int] = []
        self.ends: list[int] = []
        for piece in pieces:
            start = cache.lengths[piece.row]
            ids += piece.ids
            previous += (piece.previous or 0, *piece.ids[:-1])
            positions += range(start, start + len(piece.ids))
            self.ends.append(len(ids))
        where = torch.tensor((ids, previous, positions), device=cache.device)
        self.ids, self.previous, self.positions = where[:1], where[1:2], where[2]
        self._spans = {window: [_Span(cache, window, piece) for piece in pieces] for window in cache.sizes}
        self._places = {window: self._place(window) for window in cache.sizes}
        self._together = cache.device.type != "cpu" and len(ids) == len(pieces) > 1
        self._masks: dict[int | None, Tensor] = {}

    def commit(self) -> None:
        """Count the new tokens as stored."""
        for piece in self.pieces:
            self.cache.lengths[piece.row] += len(piece.ids)

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Cache`."""
        cache = self.cache
        window, keys, values = cache.windows[layer], cache.keys[layer], cache.values[layer]
        dtype = q.dtype
        if dtype != cache.dtype:
            q, k, v = q.to(cache.dtype), k.to(cache.dtype), v.to(cache.dtype)
        spans = self._spans[window]
        for stored, new in zip(cache.flat[layer], (k, v), strict=True):
            stored.index_copy_(0, self._places[window], new[0])
        if len(spans) == 1:
            y = spans[0].attend(q, keys, values)
        elif self._together:
            y = self._attend_together(window, q, keys, values)
        else:
            parts = [
                span.attend(q[:, begin:end], keys, values)
                for span, begin, end in zip(spans, (0, *self.ends), self.ends, strict=False)
            ]
            y = torch.cat(parts, dim=1)
        return y if y.dtype == dtype else y.to(dtype)

    def _place(self, window: int | None) -> Tensor:
        """(N,) index of each new token in the rows of a layer, laid end to end."""
        size = self.cache.sizes[window]
        at = [
            place
            for span in self._spans[window]
            for place in range(span.row * size + span.at, span.row * size + span.end)
        ]
        return torch.tensor(at, device=self.cache.device)

    def _attend_together(self, window: int | None, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One query for each of many rows in one product, for devices where starting a kernel costs more than it."""
        spans = self._spans[window]
        rows = torch.tensor([span.row for span in spans], device=q.device)
        top, longest = max(span.row for span in spans) + 1, max(span.end for span in spans)
        if window not in self._masks:
            mask = torch.ones(top, 1, 1, longest, dtype=torch.bool)  # rows that take no part may see anything
            for span in spans:
                mask[span.row, ..., : span.begin] = False
                mask[span.row, ..., span.end :] = False
            self._masks[window] = mask.to(q.device)
        asked = q.new_zeros(top, *q.shape[2:])
        asked[rows] = q[0]
        y = attend(asked[:, None], keys[:top, :longest], values[:top, :longest], mask=self._masks[window])
        return y[rows, 0][None]


class _Span:
    """Where one piece stands in the layers of one window: row, and begin <= at < end in the memory of that row.

    Keys `begin` to `end` are what the piece's queries may see, those from `at` on are its own.
    """

    def __init__(self, cache: KVCache, window: int | None, piece: Piece) -> None:
        first, start, count = cache.first(window, piece.row), cache.lengths[piece.row], len(piece.ids)
        self.row = piece.row
        self.at = start - first
        self.end = self.at + count
        self.begin = 0 if window is None else max(0, start - window) - first
        self.window = window
        self.causal = start == 0
        self.mask: Tensor | None = None
        if count > 1 and not self.causal:
            distance = torch.arange(self.at, self.end)[:, None] - torch.arange(self.begin, self.end)
            seen = distance >= 0 if window is None else (distance >= 0) & (distance <= window)
            self.mask = seen[None, None].to(cache.device)

    def attend(self, q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(1, T, H, D) queries of the piece -> (1, T, H, D)."""
        k, v = keys[None, self.row, self.begin : self.end], values[None, self.row, self.begin : self.end]
        if q.size(1) == 1:  # it sees all of them
            q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
            return F.scaled_dot_product_attention(q, k, v, enable_gqa=q.size(1) != k.size(1)).transpose(1, 2)
        if self.causal:
            return attend(q, k, v, window=self.window)
        return attend(q, k, v, mask=self.mask)


def cache_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What keys and values are kept in."""
    return torch.float32 if device.type == "cpu" else dtype


def row_bytes(config: ModelConfig, capacity: int, dtype: torch.dtype) -> int:
    """Memory of the keys and values of one full row."""
    sizes = [_size(_window(window, capacity), capacity) for window in config.window_sizes()]
    return 2 * sum(sizes) * config.n_kv_head * config.head_dim * dtype.itemsize


def _window(window: int | None, capacity: int) -> int | None:
    """The window of a layer, or None where it never hides a token."""
    return None if window is None or window >= capacity - 1 else window


def _size(window: int | None, capacity: int) -> int:
    """Tokens that a row has memory for in a layer."""
    return capacity if window is None else min(capacity, window + TAKEN_BACK + max(window, LONGEST_PIECE))
