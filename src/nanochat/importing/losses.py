"""What of the files could not be read, by place: kept for the end of an import, or raised at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nanochat.errors import DamagedError

PLACES_KEPT = 20


class OnLoss(Protocol):
    """Told by readers of what they cannot read. Lines and rows are counted from 1, row groups from 0."""

    def row(self, place: str, why: str) -> None:
        """One row is left out."""

    def rest(self, path: Path, place: str, why: str) -> None:
        """From there on nothing of the file, or of a part of it, can be read."""

    def replaced(self, path: Path, place: str, count: int) -> None:
        """So many characters were no valid text; U+FFFD stands for each, and the document is kept."""


@dataclass(slots=True)
class Losses:
    """Counts, and keeps the first places.

    Attributes:
        rows: left out.
        files: left out.
        parts: of files, that could not be read from some place on.
        bad_characters: replaced.
        places: "file:line: why" of the first losses, those of parts before those of rows.
        bad_places: of the first replaced characters.
    """

    rows: int = 0
    files: int = 0
    parts: int = 0
    bad_characters: int = 0
    places: list[str] = field(default_factory=list)
    bad_places: list[str] = field(default_factory=list)

    def row(self, place: str, why: str) -> None:
        """One row is left out."""
        self.rows += 1
        self._keep(self.places, f"{place}: {why}")

    def file(self, why: str) -> None:
        """A whole file is left out; the reason names it."""
        self.files += 1
        self._keep(self.places, why)

    def rest(self, path: Path, place: str, why: str) -> None:
        """The rest of a file is left out."""
        self.parts += 1
        self.places.insert(0, f"{place}: {why}")
        del self.places[PLACES_KEPT:]

    def replaced(self, path: Path, place: str, count: int) -> None:
        """Characters were replaced."""
        self.bad_characters += count
        self._keep(self.bad_places, place)

    @staticmethod
    def _keep(places: list[str], place: str) -> None:
        if len(places) < PLACES_KEPT:
            places.append(place)


class NoLosses:
    """Raises what `Losses` counts."""

    def row(self, place: str, why: str) -> None:
        """Raises DamagedError."""
        raise DamagedError(f"{place}: {why}", "mend it, or leave the file out")

    def rest(self, path: Path, place: str, why: str) -> None:
        """Raises DamagedError."""
        raise DamagedError(f"{place}: {why}", "copy the file again, or leave it out")

    def replaced(self, path: Path, place: str, count: int) -> None:
        """Raises DamagedError."""
        raise DamagedError(f"{place}: {path.name} is not UTF-8", "convert it to UTF-8, or leave it out")
