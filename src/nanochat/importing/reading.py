"""Text files of every kind as batches of documents: the one reader behind `data import` and `tokenizer train`.

What cannot be read is told to an `OnLoss`, which counts or raises. Whatever the size of a file, some tens of megabytes
of it are in memory at a time; of a parquet file a page, as its writer made it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanochat.errors import UsageError
from nanochat.importing.columns import TEXT, choose_column, columns_of_rows, columns_of_table
from nanochat.importing.losses import OnLoss
from nanochat.importing.places import READABLE, TextFile
from nanochat.importing.plain import Documents, plain_documents
from nanochat.importing.rows import Bad, Mended, csv_rows, json_lines, json_values
from nanochat.importing.streams import Broken, OnRead, blocks, decoded
from nanochat.importing.tables import columns_of_parquet, holds_strings, parquet_text_bytes, read_parquet
from nanochat.runtime.files import translate_os_errors
from nanochat.tokenizer.train import TextBatch

if TYPE_CHECKING:
    import pyarrow as pa

# Text of a batch: some milliseconds of work for every core.
BATCH_BYTES = 1_000_000 * min(max(os.cpu_count() or 1, 2), 32)
_LOOKED_AT_ROWS = 100
_LOOKED_AT_BYTES = 8_192
_UNPACKED = 3  # times the size of a compressed file is what text usually takes


@dataclass(frozen=True, slots=True)
class How:
    """How files are read: column asked for ("": found out), what a document of plain text is, and the encoding."""

    column: str = ""
    documents: Documents = "auto"
    encoding: str = "utf-8"


def look_into(file: TextFile, how: How) -> str:
    """The column of a file that has the documents, where it has columns; from its beginning only.

    Raises:
        UsageError: it holds zero bytes, as no text does, or no column with text.
        StorageError: it cannot be read.
    """
    if file.kind == "parquet":
        return _parquet_column(file.path, how.column)
    try:
        beginning = next(blocks(file), b"")[:_LOOKED_AT_BYTES]
    except Broken:
        return how.column or TEXT
    if b"\0" in beginning and not beginning.startswith((b"\xff\xfe", b"\xfe\xff")) and "16" not in how.encoding:
        raise UsageError(f"{file.path} holds zero bytes, as no text does", f"these kinds can be read: {READABLE}")
    if file.kind == "plain":
        return ""
    rows: list[Any] = []
    with contextlib.suppress(Broken):  # the rows before it have been taken in by then
        rows.extend(row for _, row in islice(_rows(file, how, _Deaf(), None), _LOOKED_AT_ROWS))
    rows = [row.value if isinstance(row, Mended) else row for row in rows if not isinstance(row, Bad)]
    if file.kind == "csv":
        return choose_column(file.path, columns_of_table(rows[0], rows[1:]), how.column) if rows else how.column
    if not rows or (any(isinstance(row, str) for row in rows) and not how.column):
        return how.column or TEXT
    return choose_column(file.path, columns_of_rows(rows), how.column)


def _parquet_column(path: Path, wanted: str) -> str:
    types = columns_of_parquet(path)
    if not types:  # damaged, which is told when it is read in earnest
        return wanted or TEXT
    strings = {name: holds_strings(kind, binary=name == TEXT) for name, kind in types.items()}
    column = choose_column(path, strings, wanted)
    if not holds_strings(types[column]):
        raise UsageError(
            f"{path}: the column {column} holds {types[column]}, not strings", "name another with --column"
        )
    return column


def read_file(
    file: TextFile, column: str, how: How, on_loss: OnLoss, on_read: OnRead | None = None, batch_bytes: int = 0
) -> Iterator[TextBatch]:
    """The documents of a file in order; empty ones too, for which nulls and blank lines stand.

    Args:
        file: what to read.
        column: as `look_into` found it.
        how: the rest of the settings.
        on_loss: told of what cannot be read.
        on_read: told of the bytes that were read from disk.
        batch_bytes: text of a batch, roughly; 0 for the usual.
    """
    batch_bytes = batch_bytes or BATCH_BYTES
    if file.kind == "parquet":
        yield from read_parquet(file.path, column, on_loss, on_read, batch_bytes)
        return
    broken: list[Broken] = []
    texts: list[str] = []
    size, first, number = 0, 1, 0
    for number, text in enumerate(_texts(file, column, how, on_loss, on_read, broken), 1):
        texts.append(text)
        size += len(text) + 1
        if size >= batch_bytes:
            yield TextBatch(_array(texts), str(file.path), first)
            texts, size, first = [], 0, number + 1
    if texts:
        yield TextBatch(_array(texts), str(file.path), first)
    if broken:
        on_loss.rest(file.path, str(file.path), str(broken[0]))


def text_bytes_about(file: TextFile, column: str) -> int:
    """About how many bytes of text a file holds. Only for parquet is it known beforehand."""
    with translate_os_errors(file.path):
        if file.kind == "parquet":
            return parquet_text_bytes(file.path, column)
        return file.path.stat().st_size * (_UNPACKED if file.compression else 1)


def _texts(
    file: TextFile, column: str, how: How, on_loss: OnLoss, on_read: OnRead | None, broken: list[Broken]
) -> Iterator[str]:
    try:
        if file.kind == "plain":
            yield from plain_documents(_decoded(file, how, on_loss, on_read), how.documents)
        elif file.kind == "csv":
            yield from _fields(file, column, how, on_loss, on_read)
        else:
            for line, row in _rows(file, how, on_loss, on_read):
                text = row if type(row) is str else _text_of(row, column, file.path, line, on_loss)
                if text is not None:
                    yield text
    except Broken as error:
        broken.append(error)


def _rows(file: TextFile, how: How, on_loss: OnLoss, on_read: OnRead | None) -> Iterator[tuple[int, Any]]:
    if file.kind == "jsonl" and how.encoding == "utf-8":
        return json_lines(blocks(file, on_read))
    texts = _decoded(file, how, on_loss, on_read)
    if file.kind == "csv":
        return csv_rows(texts, file.tabs)
    if file.kind == "jsonl":
        return json_lines(text.encode("utf-8", "replace") for text in texts)
    return json_values(texts)


def _decoded(file: TextFile, how: How, on_loss: OnLoss, on_read: OnRead | None) -> Iterator[str]:
    def on_bad(line: int, count: int) -> None:
        on_loss.replaced(file.path, f"{file.path}:{line}", count)

    return decoded(blocks(file, on_read), how.encoding, on_bad)


def _text_of(row: Any, column: str, path: Path, line: int, on_loss: OnLoss) -> str | None:
    """The document of a row of JSON; None where there is none."""
    place = f"{path}:{line}"
    if isinstance(row, Bad):
        on_loss.row(place, row.why)
        return None
    if isinstance(row, Mended):
        on_loss.replaced(path, place, row.count)
        row = row.value
    text = row.get(column) if isinstance(row, dict) else row
    if isinstance(text, str):
        return text
    if text is None and isinstance(row, dict) and column in row:
        return ""
    on_loss.row(place, f"has no text in {column}" if isinstance(row, dict) else "is no text")
    return None


def _fields(file: TextFile, column: str, how: How, on_loss: OnLoss, on_read: OnRead | None) -> Iterator[str]:
    index: int | None = None
    for line, row in _rows(file, how, on_loss, on_read):
        if isinstance(row, Bad):
            on_loss.row(f"{file.path}:{line}", row.why)
        elif index is None:
            if column not in row:
                raise Broken(f"line {line} does not name a column {column}")
            index = row.index(column)
        else:
            yield row[index]


def _array(texts: list[str]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(texts, pa.large_string())
    except UnicodeEncodeError:  # lone surrogates, which JSON can spell
        whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        return pa.array(whole, pa.large_string())


class _Deaf:
    """For a first look, which is told of losses when it is read in earnest."""

    def row(self, place: str, why: str) -> None: ...

    def rest(self, path: Path, place: str, why: str) -> None: ...

    def replaced(self, path: Path, place: str, count: int) -> None: ...
