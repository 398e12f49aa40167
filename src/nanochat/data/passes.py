"""The documents of some shards, pass after pass, in an order that a seed decides and from any place on.

A row group that cannot be read costs its documents, not the run: it is passed over, counted and told, until there are
too many of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from nanochat.data.shards import Texts, not_readable, read_texts, row_groups
from nanochat.errors import DamagedError, UsageError


@dataclass(frozen=True, slots=True)
class Position:
    """The place of a document: its shard's index, row group and row. `epoch` counts passes. In documents so long that
    they are read in parts, `byte` is where a part begins.
    """

    epoch: int = 0
    shard: int = 0
    group: int = 0
    row: int = 0
    byte: int = 0


class Damage:
    """What could not be read and was passed over. Used by threads that read and by one that tells.

    Args:
        limit: how many different places may be bad.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._places: set[tuple[Path, int | None]] = set()
        self._untold: deque[str] = deque()

    def pass_over(self, error: DamagedError, path: Path, group: int | None = None) -> None:
        """Note a bad row group, or with None a bad shard.

        Raises:
            DamagedError: it is one too many.
        """
        if (path, group) in self._places:
            return
        self._places.add((path, group))
        if len(self._places) > self._limit:
            raise DamagedError(
                f"{error.message}; {self._limit} other places could not be read either",
                f"{error.hint}, or raise --damage-limit" if self._limit else error.hint,
            ) from error
        what = "" if group is None else f"row group {group} of "
        self._untold.append(f"{what}{error.message}: left out ({len(self._places)} of at most {self._limit})")

    def untold(self) -> Iterator[str]:
        """A line for each place that was noted since the last call."""
        while self._untold:
            yield self._untold.popleft()

    def __len__(self) -> int:
        return len(self._places)


def documents(
    shards: tuple[Path, ...],
    start: Position | None = None,
    seed: int | None = None,
    *,
    among: range | None = None,
    damage: Damage | None = None,
) -> Iterator[tuple[Position, Texts]]:
    """`one_pass` after `one_pass` without end, from `start` on."""
    epoch = start.epoch if start else 0
    while True:
        yield from one_pass(shards, epoch, start, seed, among=among, damage=damage)
        epoch, start = epoch + 1, None


def one_pass(
    shards: tuple[Path, ...],
    epoch: int = 0,
    start: Position | None = None,
    seed: int | None = None,
    *,
    among: range | None = None,
    damage: Damage | None = None,
) -> Iterator[tuple[Position, Texts]]:
    """The documents of one pass: row group by row group, each with the place of its first document.

    Args:
        shards: parquet files in order.
        epoch: number of the pass.
        start: where to begin, in this pass; the group it points into comes without what is before.
        seed: with one, the order of shards, and of the row groups in a shard, is another one in every pass.
        among: the shards to read, by index; None reads all.
        damage: takes note of what cannot be read; None raises it.

    Raises:
        DamagedError: a shard that cannot be read, or that has no group for `start` to point into.
        UsageError: the pass met no text.
    """
    among = range(len(shards)) if among is None else among
    found = start is not None  # part of a pass proves nothing
    order = [among.start + number for number in _order(seed, epoch, "shards", len(among))]
    if start:
        if start.shard not in among:
            raise not_readable(shards[-1], "the shards after it are gone since the checkpoint")
        order = order[order.index(start.shard) :]
    for shard in order:
        path = shards[shard]
        groups = _order(seed, epoch, path.name, _count_groups(path, damage))
        if start and groups:
            if start.group >= len(groups):
                raise not_readable(path, "row groups are gone since the checkpoint")
            groups = groups[groups.index(start.group) :]
        for group in groups:
            at, start = start or Position(epoch, shard, group), None
            for row, texts in _readable(path, group, at.row, damage):
                if len(texts):
                    found = found or len(texts.data) > 0
                    yield Position(epoch, shard, group, row, at.byte if row == at.row else 0), texts
        start = None
    if not found:
        if damage:
            raise not_readable(shards[among.start], "nothing could be read of it or of the shards after it")
        raise UsageError("the data set has only empty documents", "nanochat data import PATH")


def _count_groups(path: Path, damage: Damage | None) -> int:
    try:
        return row_groups(path)
    except DamagedError as error:
        if damage is None:
            raise
        damage.pass_over(error, path)
        return 0


def _readable(path: Path, group: int, first: int, damage: Damage | None) -> Iterator[tuple[int, Texts]]:
    try:
        yield from read_texts(path, group, first)
    except DamagedError as error:
        if damage is None:
            raise
        damage.pass_over(error, path, group)


def _order(seed: int | None, epoch: int, what: str, count: int) -> list[int]:
    """The numbers below `count`, shuffled by seed, pass and `what`; the same for ever, as no generator promises."""
    if seed is None:
        return list(range(count))
    key = f"{seed} {epoch} {what}".encode()
    return sorted(range(count), key=lambda number: blake2b(b"%d" % number, key=blake2b(key).digest()).digest())
