"""A data set: a folder of parquet shards with a `text` column, one of which is for validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from nanochat.data.manifest import DataManifest, read_manifest
from nanochat.data.sources import SOURCES
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.files import translate_os_errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.parquet as pq


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


@dataclass(frozen=True, slots=True)
class Texts:
    """Documents as Arrow keeps them: `data` is their UTF-8 bytes (uint8), of which document i has
    `data[offsets[i]:offsets[i + 1]]` (int64). Arrow does not check that these are UTF-8.
    """

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def part(self, start: int, stop: int) -> Texts:
        """Documents `start` to `stop` - 1, without a copy of their bytes."""
        offsets = self.offsets[start : stop + 1]
        return Texts(self.data[offsets[0] : offsets[-1]], offsets - offsets[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """The shards of one folder in name order.

    Its manifest says which there are and which is for validation; without one the last by name is.
    """

    name: str
    train: tuple[Path, ...]
    validation: Path

    @classmethod
    def open(cls, folder: Path) -> DataSet:
        """Look for shards in `folder`.

        Raises:
            MissingError: none, or none but the one for validation, or one that the manifest lists is not there.
            DamagedError: the manifest cannot be read.
        """
        name = folder.name
        with translate_os_errors(folder):
            shards = tuple(sorted(folder.glob("shard_*.parquet"))) if folder.exists() else ()
        manifest = read_manifest(folder)
        if manifest is not None:
            return cls._listed(folder, manifest, set(shards))
        if len(shards) < 2:
            have = "no shards" if not shards else "one shard; the last one is kept for validation"
            make = f"nanochat data import PATH --name {name}"
            if name == "pocket":
                make = "nanochat data pocket"
            elif name in SOURCES:
                make = f"nanochat data download --source {name}"
            raise MissingError(f"data set {name!r} has {have} in {folder}", make)
        return cls(name=name, train=shards[:-1], validation=shards[-1])

    @classmethod
    def _listed(cls, folder: Path, manifest: DataManifest, there: set[Path]) -> DataSet:
        train = tuple(folder / shard for shard in manifest.train)
        validation = folder / manifest.validation
        lacking = sorted(path.name for path in {*train, validation} - there)
        if lacking:
            raise MissingError(f"data set {folder.name!r} lacks {', '.join(lacking[:3])} in {folder}", manifest.made_by)
        if not train:
            raise MissingError(f"data set {folder.name!r} has nothing but its validation shard", manifest.made_by)
        return cls(name=folder.name, train=train, validation=validation)


_READING = Lock()
"""Loaders read on threads of their own; two at a time on one open file of pyarrow abort the process."""


def _open(path: Path) -> pq.ParquetFile:
    return _open_as_of(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _open_as_of(path: Path, modified_ns: int) -> pq.ParquetFile:
    import pyarrow.parquet as pq  # 50 MB and a tenth of a second, which to know the shards' names need not cost

    return pq.ParquetFile(path)  # a shard that was written anew is another file


def row_groups(path: Path) -> int:
    """Number of row groups.

    Raises:
        DamagedError: the file is not readable parquet.
    """
    with _damage(path):
        return int(_open(path).num_row_groups)


def read_group(path: Path, group: int) -> list[str]:
    """The documents of one row group."""
    with _damage(path):
        return [text or "" for text in _column(path, group).to_pylist()]


def read_texts(path: Path, group: int) -> Texts:
    """The documents of one row group, without a Python string for each."""
    import numpy as np
    import pyarrow as pa

    with _damage(path):
        column: Any = _column(path, group).cast(pa.large_string()).combine_chunks()
        if column.null_count:
            column = column.fill_null(pa.scalar("", pa.large_string()))
    if not len(column):
        return Texts(np.empty(0, np.uint8), np.zeros(1, np.int64))
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(memoryview(offsets), np.int64)[column.offset : column.offset + len(column) + 1]
    return Texts(np.frombuffer(memoryview(data or b""), np.uint8), bounds)


def _column(path: Path, group: int) -> pa.ChunkedArray:
    import pyarrow as pa

    with _READING:
        column = _open(path).read_row_group(group, columns=["text"]).column("text")
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if kind not in (pa.string(), pa.large_string(), pa.string_view()):
        raise pa.ArrowInvalid(f"its text column holds {column.type}")
    return column


class _damage:
    """Turns what pyarrow says of a bad file into a `DamagedError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        import pyarrow as pa

        if isinstance(error, pa.ArrowInvalid | KeyError) or (
            isinstance(error, OSError) and not isinstance(error, FileNotFoundError | PermissionError)
        ):
            raise not_readable(self.path, str(error).splitlines()[0]) from error


def not_readable(path: Path, why: str) -> DamagedError:
    """The error for a bad shard."""
    return DamagedError(
        f"{path} is not a readable shard: {why}",
        f"nanochat data verify {path.parent.name} --repair",
    )


def documents(
    shards: tuple[Path, ...], start: Position | None = None, seed: int | None = None
) -> Iterator[tuple[Position, Texts]]:
    """`one_pass` after `one_pass` without end, from `start` on."""
    epoch = start.epoch if start else 0
    while True:
        yield from one_pass(shards, epoch, start, seed)
        epoch, start = epoch + 1, None


def one_pass(
    shards: tuple[Path, ...], epoch: int = 0, start: Position | None = None, seed: int | None = None
) -> Iterator[tuple[Position, Texts]]:
    """The documents of one pass: row group by row group, each with the place of its first document.

    Args:
        shards: parquet files in order.
        epoch: number of the pass.
        start: where to begin, in this pass; the group it points into comes without what is before.
        seed: with one, the order of shards, and of the row groups in a shard, is another one in every pass.

    Raises:
        DamagedError: a shard that cannot be read, or that has no group for `start` to point into.
        UsageError: the pass met no text.
    """
    found = start is not None  # part of a pass proves nothing
    order = _order(seed, epoch, "shards", len(shards))
    if start:
        if start.shard >= len(shards):
            raise not_readable(shards[-1], "the shards after it are gone since the checkpoint")
        order = order[order.index(start.shard) :]
    for shard in order:
        groups = _order(seed, epoch, shards[shard].name, row_groups(shards[shard]))
        if start:
            if start.group >= len(groups):
                raise not_readable(shards[shard], "row groups are gone since the checkpoint")
            groups = groups[groups.index(start.group) :]
        for group in groups:
            texts = read_texts(shards[shard], group)
            at, start = start or Position(epoch, shard, group), None
            if at.row < len(texts):
                texts = texts.part(at.row, len(texts))
                found = found or len(texts.data) > 0
                yield at, texts
    if not found:
        raise UsageError("the data set has only empty documents", "nanochat data import PATH")


def _order(seed: int | None, epoch: int, what: str, count: int) -> list[int]:
    """The numbers below `count`, shuffled by seed, pass and `what`; the same for ever, as no generator promises."""
    if seed is None:
        return list(range(count))
    key = f"{seed} {epoch} {what}".encode()
    return sorted(range(count), key=lambda number: blake2b(b"%d" % number, key=blake2b(key).digest()).digest())


def count_documents(dataset: DataSet) -> int:
    """Documents in the training shards, from the files' footers."""
    total = 0
    for path in dataset.train:
        with _damage(path):
            total += int(_open(path).metadata.num_rows)
    return total
