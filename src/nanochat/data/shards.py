"""One shard: a parquet file with a `text` column, read by row groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from nanochat.errors import DamagedError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    import pyarrow.parquet as pq

PART_BYTES = 64_000_000
"""Text of a row group held at a time. Ours have 5 MB; what others write may be one group of many gigabytes."""


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


def count_rows(path: Path) -> int:
    """Number of documents, from the file's footer.

    Raises:
        DamagedError: the file is not readable parquet.
    """
    with _damage(path):
        return int(_open(path).metadata.num_rows)


def text_bytes_about(path: Path) -> int:
    """Bytes of the documents, and of their lengths, from the file's footer.

    Raises:
        DamagedError: the file is not a readable shard.
    """
    with _damage(path):
        return sum(_text_size(path, group)[0] for group in range(_open(path).num_row_groups))


def read_group(path: Path, group: int) -> list[str]:
    """The documents of one row group."""
    with _damage(path), _READING:
        column = _open(path).read_row_group(group, columns=["text"]).column("text")
        return [text or "" for text in _checked(column).to_pylist()]


def read_texts(path: Path, group: int, first: int = 0, part_bytes: int = PART_BYTES) -> Iterator[tuple[int, Texts]]:
    """The documents of one row group from number `first` on, without a Python string for each.

    Args:
        path: the shard.
        group: number of the row group.
        first: documents to pass over.
        part_bytes: a larger group comes in parts of about so much text.

    Yields:
        The number of a part's first document, and the part. At least one part comes, if an empty one.

    Raises:
        DamagedError: the group cannot be read; parts may have come before.
    """
    with _damage(path):
        size, rows = _text_size(path, group)
        if size <= part_bytes:
            with _READING:
                column = _open(path).read_row_group(group, columns=["text"]).column("text")
            texts = _texts(column)
            yield first, texts.part(min(first, len(texts)), len(texts))
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        # a file of its own: nobody else may read from it between two parts
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as file:
            rows_a_part = max(1, rows * part_bytes // size)
            row = 0
            for batch in file.iter_batches(rows_a_part, row_groups=[group], columns=["text"], use_threads=False):
                if row + len(batch) > first:
                    texts = _texts(pa.chunked_array([batch.column(0)]))
                    start = max(0, first - row)
                    yield row + start, texts.part(start, len(texts))
                row += len(batch)


def _text_size(path: Path, group: int) -> tuple[int, int]:
    """Bytes of text in a row group, and its documents."""
    about = _open(path).metadata.row_group(group)
    for number in range(about.num_columns):
        column = about.column(number)
        if column.path_in_schema.split(".")[0] == "text":
            return int(column.total_uncompressed_size), int(about.num_rows)
    raise KeyError("it has no column text")


def _texts(column: pa.ChunkedArray) -> Texts:
    import numpy as np
    import pyarrow as pa

    whole: Any = _checked(column).cast(pa.large_string()).combine_chunks()
    if whole.null_count:
        whole = whole.fill_null(pa.scalar("", pa.large_string()))
    if not len(whole):
        return Texts(np.empty(0, np.uint8), np.zeros(1, np.int64))
    _, offsets, data = whole.buffers()
    bounds = np.frombuffer(memoryview(offsets), np.int64)[whole.offset : whole.offset + len(whole) + 1]
    return Texts(np.frombuffer(memoryview(data or b""), np.uint8), bounds)


def _checked(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa

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
    return DamagedError(f"{path} is not a readable shard: {why}", f"nanochat data verify {path.parent.name} --repair")
