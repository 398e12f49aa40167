"""The rows of task data as they stand in files: parquet, or JSON in any of the shapes of `records`.

Rows are read by number, in any order. Parquet is made for reading from front to back, so a large set is written once
as an Arrow file in the cache, which several processes then map into memory together; a small one is read whole.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from array import array
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.errors import DamagedError
from nanochat.runtime.files import translate_os_errors
from nanochat.tasks.records import RecordFile, parse

if TYPE_CHECKING:
    import pyarrow as pa

READ_WHOLE = 32_000_000
"""Bytes of parquet up to which a set is kept in memory: about 100 MB of text."""

Row = Mapping[str, Any]


class Rows(Sequence[Row]):
    """Rows of a set, each a mapping from column to value."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        """Row `index`, counted from 0."""

    @abstractmethod
    def place(self, index: int) -> str:
        """Where row `index` stands, for messages."""


class TableRows(Rows):
    """The rows of parquet files, one file after the other.

    Args:
        paths: the files.
        columns: the ones that are wanted.
        scratch: folder for the Arrow file of a large set.

    Raises:
        DamagedError: a file is no parquet, or lacks a column.
        StorageError: it cannot be read.
    """

    def __init__(self, paths: Sequence[Path], columns: Sequence[str], scratch: Path) -> None:
        from pyarrow import ArrowInvalid

        self.paths = tuple(paths)
        with translate_os_errors(self.paths[0]):
            size = sum(path.stat().st_size for path in self.paths)
            try:
                files = [_open(path, columns) for path in self.paths]
                self._ends = list(accumulate(file.metadata.num_rows for file in files))
                self._table = _read(files, columns) if size <= READ_WHOLE else self._mapped(files, columns, scratch)
            except ArrowInvalid as error:
                raise DamagedError(
                    f"{_names(self.paths)} cannot be read: {_line(error)}", "fetch the file again"
                ) from error

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        row: Row = self._table.slice(range(len(self))[index], 1).to_pylist()[0]
        return row

    def place(self, index: int) -> str:
        """File and row, counted from 1."""
        number = next(at for at, end in enumerate(self._ends) if index < end)
        before = self._ends[number - 1] if number else 0
        return f"{self.paths[number]}, row {index - before + 1}"

    def _mapped(self, files: Sequence[Any], columns: Sequence[str], scratch: Path) -> pa.Table:
        """The same rows out of an Arrow file; written when there is none of exactly these files."""
        import pyarrow as pa

        about = [[str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns] for path in self.paths]
        target = scratch / f"{hashlib.sha256(repr([about, list(columns)]).encode()).hexdigest()[:16]}.arrow"
        if not target.exists():
            scratch.mkdir(parents=True, exist_ok=True)
            unfinished = target.with_suffix(f".{os.getpid()}")
            try:
                with pa.OSFile(str(unfinished), "wb") as sink:
                    schema = pa.schema([files[0].schema_arrow.field(name) for name in columns])
                    with pa.ipc.new_file(sink, schema) as writer:
                        for file in files:
                            for batch in file.iter_batches(batch_size=1024, columns=list(columns)):
                                writer.write_batch(batch.cast(schema))
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)
        return pa.ipc.open_file(pa.memory_map(str(target))).read_all()


class JsonRows(Rows):
    """The rows of a file of JSON objects, read when they are asked for.

    Raises:
        DamagedError: a value is no object with these keys; the message names its line.
        MissingError, StorageError: as `RecordFile`.
    """

    def __init__(self, path: Path, columns: Sequence[str], scratch: Path) -> None:
        self.path = path
        self._columns = columns
        self._file = RecordFile(path, scratch)
        self._starts, self._sizes, self._lines = array("q"), array("i"), array("q")
        for record in self._file:
            self._starts.append(record.start)
            self._sizes.append(record.size)
            self._lines.append(record.line)
            self[len(self) - 1]

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        try:
            value = parse(self._file.read(self._starts[index], self._sizes[index]))
        except ValueError as error:
            raise DamagedError(f"{self.place(index)}: {error}", "mend the line, or fetch the file again") from None
        if not isinstance(value, dict) or (lacking := [name for name in self._columns if name not in value]):
            wanted = ", ".join(self._columns if not isinstance(value, dict) else lacking)
            raise DamagedError(f"{self.place(index)} has no {wanted}", "is this the file of that task?")
        return value

    def place(self, index: int) -> str:
        """File and line."""
        return f"{self.path}, line {self._lines[index]}"


def open_rows(paths: Sequence[Path], columns: Sequence[str], scratch: Path) -> Rows:
    """The rows of parquet files, or of one file of JSON.

    Args:
        paths: several only of parquet.
        columns: what each row must have.
        scratch: folder for what is unpacked or converted.

    Raises:
        DamagedError, MissingError, StorageError: the files cannot be used.
    """
    if paths[0].suffix == ".parquet":
        return TableRows(paths, columns, scratch)
    return JsonRows(paths[0], columns, scratch)


def _open(path: Path, columns: Sequence[str]) -> Any:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    if lacking := [name for name in columns if name not in file.schema_arrow.names]:
        raise DamagedError(
            f"{path} has no column {', '.join(lacking)}; its columns: {', '.join(file.schema_arrow.names[:8])}",
            "is this the file of that task?",
        )
    return file


def _read(files: Sequence[Any], columns: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    return pa.concat_tables([file.read(columns=list(columns)) for file in files]).combine_chunks()


def _names(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"one of {len(paths)} files in {paths[0].parent}"


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]
