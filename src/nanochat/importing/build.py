"""Files of one's own into a data set: read, leave out duplicates, shuffle, set some aside for validation, write shards.

All is built in a hidden folder beside the data set and then put in its place in one step: whatever happens meanwhile,
the name stands for the old data set, for the new one, or for nothing where there was none. The disk holds the
text once more while this goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from nanochat.data.manifest import DataManifest, ShardEntry, read_manifest, shard_name
from nanochat.errors import DamagedError, StorageError, UsageError
from nanochat.importing.losses import Losses
from nanochat.importing.spill import Amount, Spill, keys_of, spread_duplicates
from nanochat.importing.writer import plan_shards, write_shards
from nanochat.runtime.files import atomic_write_json, fsync_dir, sha256_file, translate_os_errors
from nanochat.tokenizer.train import TextBatch

# Of a document; more than that would have to be in memory three times at once.
LONGEST_BYTES = 16 << 20

_NOTE = "placing.json"
_PACKED = 0.5  # of the text, that its shards take at most, usually


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What documents become a data set, and how.

    Attributes:
        min_chars: shorter documents are left out, and empty ones always.
        unique: of equal documents keep one.
        validation_share: of the documents; 0 for a fair one.
        seed: of the shuffle.
        shard_bytes: of text.
    """

    min_chars: int = 1
    unique: bool = True
    validation_share: float = 0.0
    seed: int = 0
    shard_bytes: int = 250_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """What was made.

    Attributes:
        files: the shards.
        read: documents that the files hold.
        short: left out as empty or shorter than asked for.
        duplicates: left out.
    """

    files: Mapping[str, ShardEntry]
    read: Amount
    short: int
    duplicates: int


def build_shards(
    batches: Iterable[TextBatch],
    folder: Path,
    settings: Settings,
    losses: Losses,
    on_written: Callable[[int, int], None] | None = None,
) -> Written:
    """Read all batches and write shards into a folder of their own.

    Args:
        batches: arrays of `large_string` without nulls, and where they come from.
        folder: is there and empty.
        settings: see there.
        losses: told of documents that are too long.
        on_written: told (bytes of text, bytes in all) as they are written.

    Raises:
        UsageError: fewer than two documents are left.
        OSError: disk full and their like.
    """
    short = 0
    read = Amount()
    with Spill(folder / "runs", unique=settings.unique) as spill:
        for batch in batches:
            texts: Any = batch.texts
            read = Amount(read.documents + len(texts), read.text_bytes + texts.nbytes)
            kept = _long_enough(texts, settings.min_chars)
            short += len(texts) - len(kept)
            kept = _not_too_long(kept, batch, losses)
            spill.add(keys_of(kept, settings.seed), kept)
        spill.flush()
        if settings.unique:
            files = _written(spill, folder, settings, on_written)
        else:
            with spread_duplicates(spill, folder / "spread") as spread:
                files = _written(spread, folder, settings, on_written)
            (folder / "spread").unlink()
        added = spill.added.documents
    (folder / "runs").unlink()
    kept_documents = sum(entry.documents or 0 for entry in files.values())
    return Written(files=files, read=read, short=short, duplicates=added - kept_documents)


def _written(
    spill: Spill, folder: Path, settings: Settings, on_written: Callable[[int, int], None] | None
) -> dict[str, ShardEntry]:
    total = spill.total()
    if total.documents < 2:
        have = "no document is" if not total.documents else "one document alone is"
        raise UsageError(
            f"{have} left, and a data set needs two: one is for validation",
            "give more text, or --documents paragraph (or line) to make more of it",
        )
    done = 0

    def on_group(size: int) -> None:
        nonlocal done
        done += size
        if on_written:
            on_written(done, total.text_bytes)

    plan = plan_shards(total, settings.shard_bytes, settings.validation_share)
    entries = write_shards((texts for _, texts in spill.in_order()), plan, folder, on_group)
    return {shard_name(number): entry for number, entry in enumerate(entries)}


def _long_enough(texts: Any, min_chars: int) -> Any:
    long_enough: Any = pc.greater_equal(pc.utf8_length(texts), pa.scalar(max(min_chars, 1)))
    keep: Any = pc.and_not(long_enough, pc.utf8_is_space(texts))
    return texts if keep.true_count == len(texts) else texts.filter(keep)


def _not_too_long(texts: Any, batch: TextBatch, losses: Losses) -> Any:
    too_long: Any = pc.greater(pc.binary_length(texts), pa.scalar(LONGEST_BYTES))
    if not too_long.true_count:
        return texts
    for _ in range(too_long.true_count):
        losses.row(f"{batch.file}, document {batch.first:,} or after it", f"longer than {LONGEST_BYTES >> 20} MiB")
    return texts.filter(pc.invert(too_long))


def need_disk(folder: Path, text_bytes: int) -> None:
    """Refuse to begin what the disk has no room for.

    Raises:
        StorageError: it takes more than there is.
    """
    at = next(parent for parent in (folder, *folder.parents) if parent.exists())
    with translate_os_errors(at):
        free = shutil.disk_usage(at).free
    needed = int(text_bytes * (1 + _PACKED))
    if needed > free:
        raise StorageError(
            f"{folder} has {free / 1e9:.1f} GB free, and importing takes about {needed / 1e9:.1f} GB",
            "free some space, or put the data elsewhere with --base-dir",
        )


def put_in_place(built: Path, folder: Path, manifest: DataManifest) -> None:
    """Make shards that were built elsewhere on the same disk the data set of a folder.

    A new folder comes by one rename. In a folder that has a data set the new shards get other numbers than the old
    ones, which stay until the new manifest, which names the new ones alone, has replaced the old one. A note says
    which are which, so that `sweep` can finish or undo what was interrupted.

    Raises:
        StorageError: something cannot be written.
    """
    with translate_os_errors(folder):
        if not folder.exists() or (not folder.is_symlink() and not any(folder.iterdir())):
            manifest.save(built)
            if folder.exists():
                folder.rmdir()
            built.rename(folder)
            fsync_dir(folder.parent)
            return
        before = read_manifest(folder)
        old = {path.name for path in folder.glob("shard_*.parquet")}
        first = _free_number(old | set(before.files if before else ()), len(manifest.files))
        renamed = {name: shard_name(first + number) for number, name in enumerate(manifest.files)}
        atomic_write_json(built / _NOTE, {"coming": list(renamed.values()), "going": sorted(old)})
        for name, new in renamed.items():
            (built / name).rename(folder / new)
        fsync_dir(folder)
        files = {renamed[name]: entry for name, entry in manifest.files.items()}
        replace(manifest, validation=renamed[manifest.validation], files=files).save(folder)
    sweep(built, folder)


def _free_number(there: set[str], count: int) -> int:
    """The first of `count` numbers of shards that are not there."""
    first = 0
    while taken := [number for number in range(first, first + count) if shard_name(number) in there]:
        first = taken[-1] + 1
    return first


def sweep(built: Path, folder: Path) -> None:
    """Remove the hidden folder of an import, and of the data set's folder the shards that no longer or not yet count.

    Raises:
        StorageError: something cannot be removed.
    """
    with translate_os_errors(built):
        if (built / _NOTE).exists():
            note = json.loads((built / _NOTE).read_bytes())
            try:
                manifest = read_manifest(folder)
            except DamagedError:
                manifest = None
            is_new = manifest is not None and set(note["coming"]) <= set(manifest.files)
            for name in note["going" if is_new else "coming"]:
                (folder / name).unlink(missing_ok=True)
        if built.exists():
            shutil.rmtree(built)


def is_whole(folder: Path, manifest: DataManifest) -> bool:
    """Whether every file of the manifest is there, as it was written."""
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry.size_bytes or sha256_file(path) != entry.sha256:
            return False
    return bool(manifest.files)
