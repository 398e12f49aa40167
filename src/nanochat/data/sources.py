"""Data sets on the hub that are made for this: shards in good order, and how much text is in them.

Both known ones have `shard_00000.parquet` and so on, in random order of documents, with row groups of 1,024. The
last shard is for validation, whichever others are there: the loss of two models can then be compared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.errors import DamagedError, UsageError

SHARD_CHARS = 250_000_000
"""Characters in a shard; some 100 MB of parquet."""
CHARS_PER_TOKEN = 4.8
"""English web text, with the default vocabulary of 32,768."""
RESERVE = 1.05
"""Shards differ, and so do vocabularies."""

_MAGIC = b"PAR1"
_LEAST_BYTES = 12  # magic, length of the footer, magic
_TEXT_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".md")
_PACKED = ("", ".gz", ".bz2", ".xz", ".zst")
_SPLITS = {"train", "test", "validation", "valid", "val", "dev", "eval"}


@dataclass(frozen=True, slots=True)
class Source:
    """A known data set: its repository on the hub, and the number of its last shard."""

    repo: str
    last: int


SOURCES = {
    "climbmix": Source("karpathy/climbmix-400b-shuffle", 6542),
    "fineweb-edu": Source("karpathy/fineweb-edu-100b-shuffle", 1822),
}


def shards_for(tokens: float) -> range:
    """As many shards from the first on as hold this many tokens, with some to spare."""
    return range(math.ceil(tokens * CHARS_PER_TOKEN / SHARD_CHARS * RESERVE))


def with_validation(shards: range, last: int, what: str) -> list[int]:
    """The numbers of these training shards, and that of the last one, which is for validation.

    Raises:
        UsageError: there are not so many.
    """
    if not shards or shards[-1] >= last:
        wanted = f"{shards[0]:,} to {shards[-1]:,}" if shards else "none"
        raise UsageError(f"{what} has the training shards 0 to {last - 1:,}, not {wanted}", "ask for fewer with -n")
    return [*shards, last]


def choose_files(paths: Sequence[str], subset: str, split: str) -> list[str]:
    """Files with text among those of a repository, in name order: parquet where there is any, else other kinds.

    Args:
        paths: all files; names that could lead out of a folder are left out.
        subset: a folder (or several, `sample/10BT`), or the beginning of the files' names; empty for all.
        split: a word in the path; where no path has such a word all files count as train; empty for all.
    """
    safe = [path for path in paths if path.isprintable() and not {"", ".", ".."} & set(re.split(r"[/\\\\]", path))]
    inside = [path for path in safe if not subset or f"/{subset}/" in f"/{path}" or _name(path).startswith(subset)]
    parquet = [path for path in inside if path.endswith(".parquet")]
    kinds = tuple(kind + packed for kind in _TEXT_SUFFIXES for packed in _PACKED)
    texts = parquet or [path for path in inside if path.endswith(kinds) and not _name(path).startswith((".", "README"))]
    marked = [path for path in texts if _SPLITS & _words(path)]
    if split and (marked or split != "train"):
        texts = [path for path in texts if split in _words(path)]
    return sorted(texts)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _words(path: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", path.lower()))


def footer_columns(tail: bytes) -> list[str] | None:
    """Columns of a parquet file whose last bytes these are; None when they do not hold its footer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # the reader looks for the footer from the end; of what lies before it only needs to know that it is parquet
        return list(pq.ParquetFile(pa.BufferReader(_MAGIC + tail)).schema_arrow.names)
    except (pa.ArrowException, OSError):
        return None


def check_shard(path: Path) -> None:
    """See that a file is a shard, as far as that shows without reading all of it.

    Raises:
        DamagedError: it is not parquet, or has no column `text`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
        size = file.seek(0, 2)
        file.seek(max(0, size - len(_MAGIC)))
        tail = file.read()
    if size < _LEAST_BYTES or head != _MAGIC or tail != _MAGIC:
        raise _bad(path, "it does not begin and end as parquet does")
    try:
        with pq.ParquetFile(path) as table:
            columns = table.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise _bad(path, str(error).splitlines()[0]) from error
    if "text" not in columns:
        raise _bad(path, f"it has no column text, only {', '.join(columns)}")


def _bad(path: Path, why: str) -> DamagedError:
    name = path.name.removeprefix(".").removesuffix(".part")
    return DamagedError(f"{name} is no shard: {why}", "look at the file where it comes from")
