"""A data set: a folder of parquet shards with a `text` column, the last of which is for validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.files import translate_os_errors

if TYPE_CHECKING:
    import pyarrow.parquet as pq


@dataclass(frozen=True, slots=True)
class Position:
    """The place of a document: its shard's index, row group and row. `epoch` counts passes."""

    epoch: int = 0
    shard: int = 0
    group: int = 0
    row: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """The shards of one folder in name order."""

    name: str
    train: tuple[Path, ...]
    validation: Path

    @classmethod
    def open(cls, folder: Path) -> DataSet:
        """Look for shards in `folder`.

        Raises:
            MissingError: none, or only one, so that nothing would be left for validation.
        """
        name = folder.name
        make = "nanochat data pocket" if name == "pocket" else f"nanochat data pocket --name {name}"
        with translate_os_errors(folder):
            shards = tuple(sorted(folder.glob("shard_*.parquet"))) if folder.exists() else ()
        if len(shards) < 2:
            have = "no shards" if not shards else "one shard; the last one is kept for validation"
            raise MissingError(f"data set {name!r} has {have} in {folder}", make)
        return cls(name=name, train=shards[:-1], validation=shards[-1])


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
        column = _open(path).read_row_group(group, columns=["text"]).column("text")
        return [text or "" for text in column.to_pylist()]


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
            raise DamagedError(
                f"{self.path} is not a readable shard: {str(error).splitlines()[0]}",
                f"delete {self.path.parent} and make the data set again (nanochat data pocket)",
            ) from error


def documents(shards: tuple[Path, ...], start: Position | None = None) -> Iterator[tuple[Position, str]]:
    """All documents with their places, from `start` on, epoch after epoch without end.

    Raises:
        UsageError: a whole pass met no text.
    """
    at = start or Position()
    epoch, shard, group, row = at.epoch, at.shard, at.group, at.row
    while True:
        found = (shard, group, row) != (0, 0, 0)  # part of a pass proves nothing
        while shard < len(shards):
            groups = row_groups(shards[shard])
            while group < groups:
                texts = read_group(shards[shard], group)
                for i in range(row, len(texts)):
                    found = found or bool(texts[i])
                    yield Position(epoch, shard, group, i), texts[i]
                group, row = group + 1, 0
            shard, group = shard + 1, 0
        if not found:
            raise UsageError("the data set has only empty documents", "import some text: nanochat data pocket")
        epoch, shard = epoch + 1, 0


def count_documents(dataset: DataSet) -> int:
    """Documents in the training shards, from the files' footers."""
    total = 0
    for path in dataset.train:
        with _damage(path):
            total += int(_open(path).metadata.num_rows)
    return total
