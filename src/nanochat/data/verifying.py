"""Whether the files of a data set are what its manifest says, and can be read from the first row group to the last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.data.manifest import MANIFEST, DataManifest, ShardEntry, read_manifest
from nanochat.errors import DamagedError, MissingError
from nanochat.runtime.files import sha256_file, translate_os_errors


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """What is wrong with a file; `row_group` is None where it is not one of them."""

    file: str
    row_group: int | None
    what: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was found.

    Attributes:
        name: of the data set.
        folder: where it is.
        files: that were looked at.
        has_manifest: one that can be read; else only reading can tell damage.
        damage: in the order of files and row groups.
        unlisted: shards that the manifest does not name.
    """

    name: str
    folder: Path
    files: int
    has_manifest: bool
    damage: tuple[Damage, ...]
    unlisted: tuple[str, ...]


OnFile = Callable[[str, int, int], object]
"""Called with (name of the file, bytes done, bytes in all)."""


def verify(folder: Path, on_file: OnFile | None = None) -> Verified:
    """Compare every file with the manifest, and read every row group of it.

    Raises:
        StorageError: a file cannot be read.
    """
    damage: list[Damage] = []
    manifest: DataManifest | None = None
    try:
        manifest = read_manifest(folder)
    except DamagedError:
        damage.append(Damage(file=MANIFEST, row_group=None, what="is not the manifest of a data set"))
    with translate_os_errors(folder):
        there = {path.name: path.stat().st_size for path in sorted(folder.glob("shard_*.parquet"))}
        names = sorted({*manifest.files, manifest.validation} if manifest else there)
        total, done = sum(there.get(name, 0) for name in names), 0
        for name in names:
            if on_file:
                on_file(name, done, total)
            damage += _damage(folder / name, manifest.files.get(name) if manifest else None)
            done += there.get(name, 0)
    return Verified(
        name=folder.name,
        folder=folder,
        files=len(names),
        has_manifest=manifest is not None,
        damage=tuple(damage),
        unlisted=tuple(sorted(set(there) - set(names))),
    )


def adopt_shards(folder: Path) -> DataManifest:
    """Write a manifest for shards as they are now; the last one by name is for validation.

    Raises:
        MissingError: there are fewer than two.
        StorageError: it cannot be written.
    """
    with translate_os_errors(folder):
        shards = sorted(folder.glob("shard_*.parquet"))
        if len(shards) < 2:
            raise MissingError(f"{folder} has fewer than two shards", f"nanochat data import PATH --name {folder.name}")
        files = {path.name: _entry(path, "val" if path == shards[-1] else "train") for path in shards}
    manifest = DataManifest(
        name=folder.name,
        made_by=f"nanochat data verify {folder.name} --adopt",
        validation=shards[-1].name,
        origin={"adopted": {}},
        files=files,
    )
    manifest.save(folder)
    return manifest


def fetched_again(manifest: DataManifest | None, damage: Sequence[Damage]) -> tuple[dict[str, ShardEntry], list[str]]:
    """Of the damaged files those that can be had again from where they came, and the names of the others."""
    entries = manifest.files if manifest else {}
    names = list(dict.fromkeys(item.file for item in damage))
    again = {name: entries[name] for name in names if name in entries and entries[name].url}
    return again, [name for name in names if name not in again]


def _damage(path: Path, entry: ShardEntry | None) -> list[Damage]:
    def bad(what: str, group: int | None = None) -> Damage:
        return Damage(file=path.name, row_group=group, what=what)

    if not path.exists():
        return [bad("is missing")]
    damage = []
    size = path.stat().st_size
    if entry is not None and size != entry.size_bytes:
        damage.append(bad(f"has {size:,} bytes, not {entry.size_bytes:,}"))
    elif entry is not None and entry.sha256 and sha256_file(path) != entry.sha256:
        damage.append(bad("is not what was written: another SHA-256"))
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            rows = int(file.metadata.num_rows)
            if entry is not None and entry.documents not in (None, rows):
                damage.append(bad(f"has {rows:,} documents, not {entry.documents:,}"))
            for group in range(file.metadata.num_row_groups):
                if what := _bad_group(file, group):
                    damage.append(bad(what, group))
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        damage.append(bad(f"is not readable parquet: {_first_line(error)}"))
    return damage


def _bad_group(file: pq.ParquetFile, group: int) -> str:
    """What is wrong with a row group; "" for nothing."""
    about = file.metadata.row_group(group)
    if "text" not in {about.column(number).path_in_schema for number in range(about.num_columns)}:
        return "has no column text"
    try:
        column: Any = file.read_row_group(group, columns=["text"], use_threads=False).column("text")
        column.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return _first_line(error)
    return ""


def _entry(path: Path, split: Any) -> ShardEntry:
    import pyarrow.compute as pc

    documents = text_bytes = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.metadata.num_row_groups):
            column: Any = file.read_row_group(group, columns=["text"], use_threads=False).column("text")
            documents += len(column)
            text_bytes += pc.sum(pc.binary_length(column)).as_py() or 0
    return ShardEntry(
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        split=split,
        documents=documents,
        text_bytes=text_bytes,
    )


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
