"""The text a run trains on: one data set, or several by weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanochat.config.mixture import parse_mixture
from nanochat.data.dataset import DataSet, count_documents
from nanochat.runtime.paths import Paths


@dataclass(frozen=True, slots=True)
class Portion:
    """Shards that belong together, by index, and their share of the tokens."""

    shards: range
    weight: float


@dataclass(frozen=True, slots=True)
class TextMixture:
    """Data sets with their shares of the tokens, which add up to 1."""

    name: str
    parts: tuple[tuple[DataSet, float], ...]

    @classmethod
    def open(cls, paths: Paths, text: str) -> TextMixture:
        """Look for the data sets of `fineweb-edu:0.9,mine:0.1`.

        Raises:
            UsageError: the text is no mixture.
            MissingError: there is no such data set, or it lacks shards.
        """
        return cls(text, tuple((DataSet.open(paths.data(name)), weight) for name, weight in parse_mixture(text)))

    @property
    def shards(self) -> tuple[Path, ...]:
        """The training shards of all of them."""
        return tuple(path for dataset, _ in self.parts for path in dataset.train)

    @property
    def portions(self) -> tuple[Portion, ...]:
        """Which of `shards` make up which share."""
        portions = []
        first = 0
        for dataset, weight in self.parts:
            portions.append(Portion(range(first, first + len(dataset.train)), weight))
            first += len(dataset.train)
        return tuple(portions)

    def documents(self) -> int:
        """Documents to train on.

        Raises:
            DamagedError: a shard is not readable.
        """
        return sum(count_documents(dataset) for dataset, _ in self.parts)
