"""Pieces of several data sets, in proportion by tokens: what is behind its share comes next.

So the shares hold to within a document at every place of a run, and follow from the data alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nanochat.data.passes import Position
from nanochat.data.pieces import Piece, Pieces


@dataclass(frozen=True, slots=True)
class MixedPlace:
    """Where each source goes on, None where nothing was read of it, and the tokens taken from it so far."""

    next: tuple[Position | None, ...]
    taken: tuple[int, ...]

    def state(self) -> dict[str, Any]:
        """As JSON values."""
        places = [[at.epoch, at.shard, at.group, at.row, at.byte] if at else None for at in self.next]
        return {"next": places, "taken": list(self.taken)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> MixedPlace:
        """The other way round."""
        places = tuple(Position(*place) if place else None for place in state["next"])
        return cls(places, tuple(int(count) for count in state["taken"]))


class MixedPieces:
    """An iterator over the pieces of several sources; it ends when the source whose turn it is has ended.

    Args:
        sources: one for each portion.
        weights: their shares of the tokens, bos counted.
        taken: tokens taken from each before.
    """

    def __init__(self, sources: Sequence[Pieces], weights: Sequence[float], taken: Sequence[int] = ()) -> None:
        self._sources = list(sources)
        self._weights = list(weights)
        self._taken = list(taken) or [0] * len(self._sources)

    def __iter__(self) -> MixedPieces:
        return self

    def __next__(self) -> Piece:
        source = 0
        if len(self._sources) > 1:
            source = min(range(len(self._sources)), key=lambda number: self._taken[number] / self._weights[number])
        piece = next(self._sources[source])
        self._taken[source] += 1 + len(piece.ids)
        return piece

    @property
    def place(self) -> MixedPlace:
        """Where to go on."""
        return MixedPlace(tuple(source.next for source in self._sources), tuple(self._taken))
