"""Text files of any kind as batches of documents for a tokenizer, read ahead of it.

`reading` says what kinds there are. Parquet in the common encodings goes by our own reader, without a Python string per
document; damage is an error here, as a vocabulary should be of all that was given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nanochat._rustbpe import ParquetTexts
from nanochat.data.ahead import Ahead
from nanochat.data.manifest import read_manifest
from nanochat.errors import DamagedError, UsageError
from nanochat.importing import reading
from nanochat.importing.losses import NoLosses
from nanochat.importing.places import TextFile, find_files, told_by_name
from nanochat.runtime.files import translate_os_errors
from nanochat.tokenizer.train import TextBatch

_HOW = reading.How()


def find_texts(places: Sequence[str | Path]) -> list[Path]:
    """The files to read: files themselves, and what lies in folders, in name order.

    What a data set keeps for validation is left out: the shard its manifest names, else the last of several. So are,
    in folders, files of JSON and CSV without a column of text: settings and tables of numbers.

    Raises:
        MissingError: a place does not exist.
        UsageError: a folder with no file of these kinds, or with nothing but what is for validation.
    """
    found: list[Path] = []
    for place in places:
        path = Path(place)
        files = [file.path for file in find_files([place]).files if file.named or _has_text(file)]
        validation = _validation(path) if path.is_dir() else None
        rest = [file for file in files if file != validation]
        if not rest:
            raise UsageError(f"{path} has nothing but its validation shard", "give a folder or files with more text")
        found += rest
    return found


def _has_text(file: TextFile) -> bool:
    if file.kind not in ("json", "csv"):
        return True
    try:
        reading.look_into(file, _HOW)
    except UsageError:
        return False
    return True


def _validation(folder: Path) -> Path | None:
    manifest = read_manifest(folder)
    if manifest is not None:
        return folder / manifest.validation
    shards = sorted(folder.glob("shard_*.parquet"))
    return shards[-1] if len(shards) > 1 else None


def size_of(paths: Sequence[Path]) -> int:
    """About how many bytes of text `read_texts` will give. Compressed files count as they are, but for parquet.

    Raises:
        DamagedError: a file is not readable parquet.
    """
    return sum(_size(path) for path in paths)


def read_texts(paths: Sequence[Path]) -> Iterator[TextBatch]:
    """The documents of all files, in order; another thread reads one batch ahead.

    Raises:
        DamagedError: a file is not what its name says, or a row has no text; the message says where.
        UsageError: a file has no column with text, or holds something else than text.
        StorageError: a file cannot be read.
    """
    return Ahead((batch for path in paths for batch in _read(path)), depth=1)


def _read(path: Path) -> Iterator[TextBatch]:
    file = told_by_name(path) or TextFile(path, "plain")
    if file.kind == "parquet" and (fast := _fast(path)) is not None:
        with _damage(path):
            first = 1
            while (texts := fast.next(reading.BATCH_BYTES)) is not None:
                yield TextBatch(texts, str(path), first)
                first += len(texts)
        return
    column = reading.look_into(file, _HOW)
    yield from reading.read_file(file, column, _HOW, NoLosses())


def _size(path: Path) -> int:
    file = told_by_name(path) or TextFile(path, "plain")
    if file.kind != "parquet":
        with translate_os_errors(path):
            return path.stat().st_size
    if (fast := _fast(path)) is not None:
        return fast.size
    return reading.text_bytes_about(file, reading.look_into(file, _HOW))


def _fast(path: Path) -> ParquetTexts | None:
    """Our own reader, which spares a tenth of a second and 50 MB; None where pyarrow must do it.

    Raises:
        DamagedError: it is not readable parquet.
    """
    with _damage(path):
        try:
            return ParquetTexts(path)
        except (NotImplementedError, KeyError):  # an uncommon encoding, or no column text
            return None


class _damage:
    """Turns what our reader says of a bad file into a `DamagedError` that names it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            what = (str(error) or "it ends too early").splitlines()[0]
            raise DamagedError(
                f"{self.path} cannot be read as .parquet: {what}", "copy it again, or leave it out"
            ) from error
        if isinstance(error, OSError):
            with translate_os_errors(self.path):
                raise error
