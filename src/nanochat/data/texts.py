"""Text files of several kinds as batches of documents, read ahead of whoever uses them.

    .parquet            the column `text`, without a Python string per document
    .jsonl, .jsonl.gz   one object with a `text`, or one string, a line
    .txt, .txt.gz       plain text, cut at line ends into documents of a few thousand characters

Whatever the size of a file, a few dozen megabytes of it are in memory at a time.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from nanochat._rustbpe import ParquetTexts
from nanochat.data.ahead import Ahead
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.files import translate_os_errors
from nanochat.tokenizer.train import TextBatch

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".txt", ".txt.gz")

# Text of a batch: some milliseconds of work for every core.
_BATCH_BYTES = 1_000_000 * min(max(os.cpu_count() or 1, 2), 32)

# A document of plain text: many lines, and few enough that the usual cap on documents leaves it whole.
_PLAIN_CHARS = 8_000


def find_texts(places: Sequence[Path]) -> list[Path]:
    """The files to read: files themselves, and what lies in folders, in name order.

    Of a folder with several `shard_*.parquet` the last one is left out: it is for validation.

    Raises:
        MissingError: a place does not exist.
        UsageError: a file of another kind, or a folder with no file of these kinds.
    """
    found: list[Path] = []
    for place in places:
        with translate_os_errors(place):
            if place.is_dir():
                files = sorted(path for path in place.iterdir() if path.is_file() and _is_text(path))
                shards = [path for path in files if path.match("shard_*.parquet")]
                found += shards[:-1] if len(shards) > 1 else files
            elif not place.exists():
                raise MissingError(f"there is no {place}", "give a folder or files with text, or --data and a name")
            elif _is_text(place):
                files = [place]
                found.append(place)
            else:
                files = []
        if not files:
            raise UsageError(f"{place} holds no text that can be read", f"these kinds can: {' '.join(SUFFIXES)}")
    return found


def size_of(paths: Sequence[Path]) -> int:
    """About how many bytes of text `read_texts` will give. Compressed files count as they are, but for parquet.

    Raises:
        DamagedError: a file is not readable parquet.
    """
    return sum(_parquet_size(path) if path.suffix == ".parquet" else path.stat().st_size for path in paths)


def read_texts(paths: Sequence[Path]) -> Iterator[TextBatch]:
    """The documents of all files, in order; another thread reads one batch ahead.

    Raises:
        DamagedError: a file is not what its name says, or has no text; the message says where.
        StorageError: a file cannot be read.
    """
    return Ahead((batch for path in paths for batch in _read(path)), depth=1)


def _is_text(path: Path) -> bool:
    return path.name.endswith(SUFFIXES)


def _read(path: Path) -> Iterator[TextBatch]:
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
    elif ".jsonl" in path.suffixes:
        yield from _read_jsonl(path)
    else:
        yield from _read_plain(path)


def _parquet_size(path: Path) -> int:
    with translate_os_errors(path), _damage(path):
        try:
            return ParquetTexts(path).size
        except NotImplementedError:
            with _open_parquet(path) as file:
                leaf = _text_leaf(file, path)
                groups = range(file.metadata.num_row_groups)
                return sum(int(file.metadata.row_group(group).column(leaf).total_uncompressed_size) for group in groups)


def _read_parquet(path: Path) -> Iterator[TextBatch]:
    """By our own reader, which spares a tenth of a second and 50 MB, or by pyarrow where that cannot do it."""
    with translate_os_errors(path), _damage(path):
        try:
            file = ParquetTexts(path)
        except NotImplementedError:
            yield from _read_by_pyarrow(path)
            return
        first = 1
        while (texts := file.next(_BATCH_BYTES)) is not None:
            yield TextBatch(texts, str(path), first)
            first += len(texts)


def _read_by_pyarrow(path: Path) -> Iterator[TextBatch]:
    with _open_parquet(path) as file:
        leaf = _text_leaf(file, path)
        first = 1
        for group in range(file.metadata.num_row_groups):
            about = file.metadata.row_group(group)
            # What a row takes decides how many make a batch: a group may be larger than memory.
            row = about.column(leaf).total_uncompressed_size // max(about.num_rows, 1) + 1
            rows = max(1, _BATCH_BYTES // row)
            for batch in file.iter_batches(rows, row_groups=[group], columns=["text"], use_threads=False):
                yield TextBatch(_strings(batch.column(0), path), str(path), first)
                first += batch.num_rows


def _open_parquet(path: Path) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


def _text_leaf(file: pq.ParquetFile, path: Path) -> int:
    """The number of the column `text` in the file's metadata."""
    columns = file.metadata.schema
    for number in range(file.metadata.num_columns):
        if columns.column(number).path == "text":
            return number
    raise KeyError("text")


def _strings(array: pa.Array, path: Path) -> pa.Array:
    """The array itself if it holds strings, else what it is as strings."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array
    # Bytes are left for the trainer to check, which names the document.
    if pa.types.is_binary(kind):
        return array.view(pa.string())
    if pa.types.is_large_binary(kind):
        return array.view(pa.large_string())
    if pa.types.is_dictionary(kind) or pa.types.is_string_view(kind):
        return array.cast(pa.large_string())
    raise DamagedError(f"{path}: the column text holds {kind}, not strings", "leave the file out")


def _read_jsonl(path: Path) -> Iterator[TextBatch]:
    texts: list[str] = []
    size = 0
    first = number = 1
    with translate_os_errors(path), _damage(path), _open(path) as file:
        for number, line in enumerate(file, 1):
            text = _text_of(line, path, number) if line.strip() else ""
            texts.append(text)
            size += len(text) + 1
            if size >= _BATCH_BYTES:
                yield _batch(texts, path, first)
                texts, size, first = [], 0, number + 1
    if texts:
        yield _batch(texts, path, first)


def _text_of(line: bytes, path: Path, number: int) -> str:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DamagedError(f"{path}: line {number} is not JSON", "mend the line, or leave the file out") from error
    text = value.get("text") if isinstance(value, dict) else value
    if text is None and isinstance(value, dict) and "text" in value:
        return ""
    if not isinstance(text, str):
        raise DamagedError(
            f"{path}: line {number} has no text", 'each line should be {"text": "..."} or a string in JSON'
        )
    return text


def _read_plain(path: Path) -> Iterator[TextBatch]:
    texts: list[str] = []
    size = 0
    first = number = 1
    with translate_os_errors(path), _damage(path), _open(path) as file:
        for number, text in enumerate(_plain_documents(file), 1):
            texts.append(text)
            size += len(text)
            if size >= _BATCH_BYTES:
                yield _batch(texts, path, first)
                texts, size, first = [], 0, number + 1
    if texts:
        yield _batch(texts, path, first)


def _plain_documents(file: IO[bytes]) -> Iterator[str]:
    rest = ""
    with io.TextIOWrapper(file, encoding="utf-8", newline="") as lines:
        while block := lines.read(1 << 20):
            rest += block
            start = 0
            while len(rest) - start > _PLAIN_CHARS:
                end = rest.rfind("\n", start, start + _PLAIN_CHARS) + 1
                end = end if end > start else start + _PLAIN_CHARS  # a line longer than a document
                yield rest[start:end]
                start = end
            rest = rest[start:]
    if rest:
        yield rest


def _batch(texts: list[str], path: Path, first: int) -> TextBatch:
    import pyarrow as pa

    try:
        array = pa.array(texts, pa.large_string())
    except UnicodeEncodeError:  # lone surrogates, which JSON can spell
        whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        array = pa.array(whole, pa.large_string())
    return TextBatch(array, str(path), first)


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


class _damage:
    """Turns what readers say of a bad file into a `DamagedError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UnicodeDecodeError):
            raise DamagedError(f"{self.path} is not UTF-8", "convert it to UTF-8, or leave it out") from error
        if isinstance(error, KeyError):
            raise DamagedError(
                f"{self.path} has no column text", "give that name to the column with the documents, or leave it out"
            ) from error
        # ArrowInvalid is a ValueError; Arrow, gzip and zlib report damage as OSErrors without a number too
        if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error | ValueError) or (
            isinstance(error, OSError) and error.errno is None
        ):
            what = str(error).splitlines()[0] if str(error) else "it ends too early"
            raise DamagedError(
                f"{self.path} cannot be read as {_kind(self.path)}: {what}", "copy it again, or leave it out"
            ) from error


def _kind(path: Path) -> str:
    return next(suffix for suffix in reversed(SUFFIXES) if path.name.endswith(suffix))
