"""A column of a parquet file, batch by batch; of a damaged file what can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.importing.losses import OnLoss
from nanochat.importing.streams import OnRead
from nanochat.runtime.files import translate_os_errors
from nanochat.tokenizer.train import TextBatch

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def columns_of_parquet(path: Path) -> dict[str, pa.DataType]:
    """The columns of a file and what they hold; none where the file cannot be read.

    Raises:
        StorageError: the file cannot be opened.
    """
    import pyarrow as pa

    with translate_os_errors(path):
        try:
            with _open(path) as file:
                return {field.name: field.type for field in file.schema_arrow}
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            return {}


def holds_strings(kind: pa.DataType, binary: bool = True) -> bool:
    """Whether values of this type are strings, or bytes that may be some."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests: list[Any] = [pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view]
    tests += [pa.types.is_binary, pa.types.is_large_binary] if binary else []
    return any(test(kind) for test in tests)


def parquet_text_bytes(path: Path, column: str) -> int:
    """Bytes that a column takes before compression; the size of the file where that cannot be told."""
    import pyarrow as pa

    try:
        with _open(path) as file:
            leaf = _leaf(file, column)
            groups = range(file.metadata.num_row_groups)
            return sum(int(file.metadata.row_group(group).column(leaf).total_uncompressed_size) for group in groups)
    except (pa.ArrowException, OSError, ValueError) as error:
        _reraise_real(error)
        return path.stat().st_size


def read_parquet(
    path: Path, column: str, on_loss: OnLoss, on_read: OnRead | None, batch_bytes: int
) -> Iterator[TextBatch]:
    """The documents of a column. Damage costs the rest of the row group it is in.

    Raises:
        StorageError: the file cannot be read.
    """
    import pyarrow as pa

    damage = (pa.ArrowException, OSError, ValueError)
    size = path.stat().st_size
    with translate_os_errors(path):
        try:
            file = _open(path)
        except damage as error:
            _reraise_real(error)
            on_loss.rest(path, str(path), f"not readable parquet ({_first_line(error)})")
            return
        with file:
            about = file.metadata
            leaf = _leaf(file, column)
            first = 1
            for group in range(about.num_row_groups):
                rows = int(about.row_group(group).num_rows)
                # What a row takes decides how many make a batch: a group may be larger than memory.
                row = about.row_group(group).column(leaf).total_uncompressed_size // max(rows, 1) + 1
                count = max(1, min(batch_bytes // row, rows))
                done = 0
                try:
                    for batch in file.iter_batches(count, row_groups=[group], columns=[column], use_threads=False):
                        yield TextBatch(_strings(batch.column(0), path, first + done, on_loss), str(path), first + done)
                        done += batch.num_rows
                        if on_read:
                            on_read(size * batch.num_rows // max(int(about.num_rows), 1))
                except damage as error:
                    _reraise_real(error)
                    where = f"{path} row group {group}, rows {first + done:,} to {first + rows - 1:,}"
                    on_loss.rest(path, where, f"damaged ({_first_line(error)})")
                first += rows


def _open(path: Path) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    # pages are read one after the other, not a row group at once
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def _leaf(file: pq.ParquetFile, column: str) -> int:
    """The number of a column in the file's metadata."""
    about = file.metadata
    return [about.schema.column(number).path for number in range(about.num_columns)].index(column)


def _reraise_real(error: BaseException) -> None:
    """What the disk says is no damage of the file; Arrow's own OSErrors have no number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _strings(array: pa.Array, path: Path, first: int, on_loss: OnLoss) -> pa.Array:
    """As `large_string` in UTF-8 without nulls."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        array = array.cast(pa.large_binary()).view(pa.large_string())
    elif kind != pa.large_string():
        array = array.cast(pa.large_string())
    if array.null_count:
        array = array.fill_null("")
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return _mended(array, path, first, on_loss)
    return array


def _mended(array: pa.Array, path: Path, first: int, on_loss: OnLoss) -> pa.Array:
    import pyarrow as pa

    texts = []
    values: Any = array.cast(pa.large_binary()).to_pylist()
    for number, value in enumerate(values, first):
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            texts.append(value.decode("utf-8", "replace"))
            on_loss.replaced(path, f"{path} row {number:,}", texts[-1].count("\ufffd"))
    return pa.array(texts, pa.large_string())


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
