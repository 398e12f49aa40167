"""The pocket corpus on disk: ordinary parquet shards, made instead of downloaded.

The last shard is validation. Every shard is a stream of its own, written under a temporary name and renamed
when whole; `manifest.json` says at first whose folder it is and names no training shard, and is written anew when all
are there. The same seed and size give the same bytes with the same pyarrow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.data.manifest import DataManifest, ShardEntry, read_manifest, shard_name
from nanochat.errors import DamagedError, UsageError
from nanochat.pocket.documents import CORPUS_VERSION, documents
from nanochat.runtime.files import fsync_dir, sha256_file, translate_os_errors

ROW_GROUP_DOCUMENTS = 1_024
_VALIDATION_SHARE = 20  # one part in 20, at most one shard
_SCHEMA = pa.schema([("text", pa.string())])

Progress = Callable[[int, int], None]
"""Called with (text bytes written, text bytes in all)."""


def write_pocket(
    directory: Path,
    *,
    size_bytes: int,
    seed: int,
    shard_bytes: int = 5_000_000,
    on_progress: Progress | None = None,
) -> list[Path]:
    """Write the corpus, or return at once where it already stands complete.

    Args:
        directory: made if missing; shards of an earlier corpus in it are replaced, other data sets never.
        size_bytes: text in UTF-8, validation included; exceeded by less than a document per shard.
        seed: another seed gives other documents about the same world.
        shard_bytes: text per shard.
        on_progress: told after every shard.

    Returns:
        Paths of the shards in order, validation last.

    Raises:
        UsageError: a size that is not positive, or another data set stands there.
        StorageError: disk full, no permission and their like; complete shards stay.
    """
    if size_bytes <= 0 or shard_bytes <= 0:
        raise UsageError(
            f"size of the corpus ({size_bytes}) and of a shard ({shard_bytes}) must be positive",
            "try --size 20MB",
        )
    request = {"version": CORPUS_VERSION, "seed": seed, "size_bytes": size_bytes, "shard_bytes": shard_bytes}
    with translate_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        complete = _complete_shards(directory, request)
        if complete:
            return complete
        _check_ours(directory)
        for leftover in directory.glob(".shard_*.tmp"):
            leftover.unlink()
        plan = _plan(size_bytes, shard_bytes)
        name = directory.name
        begun = DataManifest(
            name=name,
            made_by=f"nanochat data pocket --name {name} --size {size_bytes} --seed {seed} --shard-size {shard_bytes}",
            validation=shard_name(len(plan) - 1),
            origin={"pocket": request},
        )
        begun.save(directory)
        files: dict[str, ShardEntry] = {}
        done = 0
        for number, (split, size) in enumerate(plan):
            path = directory / shard_name(number)
            rows, written = _write_shard(path, documents(seed, split, part=number), size)
            done += written
            files[path.name] = ShardEntry(
                size_bytes=path.stat().st_size,
                sha256=sha256_file(path),
                split=split,
                documents=rows,
                text_bytes=written,
            )
            if on_progress:
                on_progress(min(done, size_bytes), size_bytes)
        for stale in directory.glob("shard_*.parquet"):
            if stale.name not in files:
                stale.unlink()
        fsync_dir(directory)
        replace(begun, files=files).save(directory)
    return [directory / name for name in files]


def _plan(size_bytes: int, shard_bytes: int) -> list[tuple[Literal["train", "val"], int]]:
    """Split and text bytes of each shard: equal training shards, then validation."""
    validation = min(shard_bytes, -(-size_bytes // _VALIDATION_SHARE))
    training = max(size_bytes - validation, 1)
    count = -(-training // shard_bytes)
    train: tuple[Literal["train", "val"], int] = ("train", -(-training // count))
    return [train] * count + [("val", validation)]


def _check_ours(directory: Path) -> None:
    """See that no shards but those of a pocket corpus would be lost.

    Raises:
        UsageError: there are some, or nobody can tell.
    """
    try:
        manifest = read_manifest(directory)
    except DamagedError:
        manifest = None
    if manifest is None and not any(directory.glob("shard_*.parquet")):
        return
    if manifest is None or "pocket" not in manifest.origin:
        what = f"another data set, made by: {manifest.made_by}" if manifest else "shards and no manifest of theirs"
        raise UsageError(f"{directory} holds {what}", "choose another --name, or delete the folder")


def _complete_shards(directory: Path, request: Mapping[str, int]) -> list[Path]:
    """The shards of the manifest if it answers this request and all of them are sound, else nothing."""
    try:
        manifest = read_manifest(directory)
    except DamagedError:
        return []
    if manifest is None or manifest.origin != {"pocket": request}:
        return []
    paths = [directory / name for name in manifest.files]
    if set(paths) != set(directory.glob("shard_*.parquet")):
        return []
    return paths if all(sha256_file(path) == manifest.files[path.name].sha256 for path in paths) else []


def _write_shard(path: Path, texts: Iterator[str], size_bytes: int) -> tuple[int, int]:
    """Write documents until `size_bytes` of text are reached. Returns (documents, text bytes)."""
    temporary = path.with_name(f".{path.name}.tmp")
    rows = written = 0
    try:
        with temporary.open("wb") as file:
            with pq.ParquetWriter(file, _SCHEMA, compression="zstd") as writer:
                while written < size_bytes:
                    group: list[bytes] = []
                    while written < size_bytes and len(group) < ROW_GROUP_DOCUMENTS:
                        group.append(next(texts).encode())
                        written += len(group[-1])
                    rows += len(group)
                    writer.write_table(pa.table([pa.array(group, pa.string())], schema=_SCHEMA))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return rows, written
