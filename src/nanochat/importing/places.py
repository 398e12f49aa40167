"""Which files a person means: files, folders with all that is in them, and patterns such as `'notes/*.md'`.

What a file holds is told by its name: its kind (plain text, JSON lines, JSON, CSV, parquet) and, at the end, how it is
compressed. In folders files of other kinds are passed over, and so is all whose name begins with a dot; a file that is
named itself is plain text whatever its ending, unless it holds zero bytes.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from nanochat.data.manifest import MANIFEST
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.files import translate_os_errors

Kind = Literal["plain", "jsonl", "json", "csv", "parquet"]
Compression = Literal["", "gzip", "bz2", "xz", "zstd"]

KINDS: dict[str, Kind] = {
    ".txt": "plain",
    ".text": "plain",
    ".md": "plain",
    ".markdown": "plain",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}

READABLE = "txt, md, jsonl, json, csv, tsv (each also .gz, .bz2, .xz or .zst) and parquet"


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file and what its name says of it.

    Attributes:
        path: where it is.
        kind: how its documents are told apart.
        compression: "" for none.
        named: it was asked for itself, not found in a folder.
        tabs: the columns of a CSV file are separated by tabs.
    """

    path: Path
    kind: Kind
    compression: Compression = ""
    named: bool = True
    tabs: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The files of some places, each once, in order; `passed_over` are those of other kinds in folders."""

    files: tuple[TextFile, ...]
    passed_over: tuple[Path, ...]


def find_files(places: Sequence[str | Path]) -> Found:
    """Look for files with text.

    Raises:
        MissingError: a place does not exist, or no file fits a pattern.
        UsageError: nothing in a folder can be read.
        StorageError: a folder cannot be looked into.
    """
    files: dict[Path, TextFile] = {}
    passed_over: list[Path] = []
    for place in places:
        for path in _expanded(place):
            if path.is_dir():
                within = [(file, told_by_name(file, named=False)) for file in _inside(path)]
                if not any(told for _, told in within):
                    raise UsageError(f"{path} holds no text that can be read", f"these kinds can: {READABLE}")
            else:
                within = [(path, told_by_name(path) or TextFile(path, "plain"))]
            for file, told in within:
                if told is None:
                    passed_over.append(file)
                else:
                    files.setdefault(file.resolve(), told)
    return Found(tuple(files.values()), tuple(passed_over))


def told_by_name(path: Path, named: bool = True) -> TextFile | None:
    """What the name of a file says of its content; None where it says nothing of text."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1], "") if suffixes else ""
    if compression:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    kind = KINDS.get(suffix)
    if kind is None or (kind == "parquet" and compression):
        return TextFile(path, "plain", compression, named) if compression and named else None
    return TextFile(path, kind, compression, named, tabs=suffix == ".tsv")


def _expanded(place: str | Path) -> list[Path]:
    path = Path(place).expanduser()
    with translate_os_errors(path):
        if path.exists():
            return [path]
        if path.is_symlink():
            raise MissingError(f"{path} points to nothing", "mend the link, or leave it out")
        is_pattern = glob.has_magic(str(path))
        names = glob.glob(str(path), recursive=True) if is_pattern else []  # noqa: PTH207 - pathlib's needs a folder
        if not names:
            what = f"no file fits {path}" if is_pattern else f"there is no {path}"
            raise MissingError(what, "give files, folders or patterns in quotes, such as 'notes/*.md'")
        return [Path(name) for name in sorted(names)]


def _inside(folder: Path) -> Iterator[Path]:
    """Files of a folder and of the folders in it, in the order of their names; links to folders are not followed."""

    def refused(error: OSError) -> None:
        raise error

    with translate_os_errors(folder):
        for at, folders, names in os.walk(folder, onerror=refused):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            is_data_set = MANIFEST in names and any(fnmatch(name, "shard_*.parquet") for name in names)
            for name in sorted(names):
                path = Path(at, name)
                if not name.startswith(".") and not (is_data_set and name == MANIFEST) and path.is_file():
                    yield path
