"""What a data set consists of: `manifest.json` beside its shards.

It names the shard for validation, so that the choice does not depend on how many others are there; says what every
file must be; and keeps the command that makes the data set again. Folders without one are data sets too, whose last
shard by name is for validation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nanochat.errors import DamagedError, UsageError
from nanochat.runtime.files import atomic_write_json, translate_os_errors
from nanochat.runtime.lease import held

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """What one file must be. `documents` and `text_bytes` are None until someone counted them.

    `url` is where the file can be had again, empty for what was made on this machine.
    """

    size_bytes: int
    sha256: str  # hexadecimal
    split: Literal["train", "val"]
    documents: int | None = None
    text_bytes: int | None = None
    url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataManifest:
    """What a data set consists of.

    Attributes:
        name: its name when it was made.
        made_by: the command that makes it, or completes it.
        validation: name of the shard for validation, which need not be there yet.
        origin: the settings it was made with; two data sets of the same origin are the same.
        files: by name, in order.
    """

    name: str
    made_by: str
    validation: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, ShardEntry] = field(default_factory=dict)

    @property
    def train(self) -> tuple[str, ...]:
        """Names of the shards to train on, in name order."""
        return tuple(sorted(name for name, entry in self.files.items() if entry.split == "train"))

    def save(self, folder: Path) -> None:
        """Write it into the folder, as a whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        atomic_write_json(folder / MANIFEST, asdict(self))


def shard_name(number: int) -> str:
    """`shard_00042.parquet`."""
    return f"shard_{number:05d}.parquet"


def read_manifest(folder: Path) -> DataManifest | None:
    """The manifest of a data set; None where there is none.

    Raises:
        DamagedError: it is not what `DataManifest.save` writes.
        StorageError: it cannot be read.
    """
    path = folder / MANIFEST
    with translate_os_errors(path):
        if not path.exists():
            return None
        text = path.read_bytes()
    try:
        values = json.loads(text)
        files = {_beside(name): ShardEntry(**entry) for name, entry in values.pop("files").items()}
        return DataManifest(**{**values, "validation": _beside(values["validation"])}, files=files)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(
            f"{path} is not the manifest of a data set: {error}",
            "delete the file (the last shard is then for validation), or make the data set again",
        ) from error


def add_files(folder: Path, manifest: DataManifest, files: Mapping[str, ShardEntry]) -> DataManifest:
    """Add files to the manifest of a folder, where other processes may do so at the same time.

    Args:
        folder: of the data set.
        manifest: written if there is none yet; else it must be of the same origin, and its own files do not count.
        files: the new ones by name; they replace older entries.

    Returns:
        The manifest as it is now. `made_by` is the given one unless files are there that it would not make.

    Raises:
        UsageError: another data set stands there.
        DamagedError: the manifest cannot be read.
        StorageError: it cannot be written.
    """
    with held(folder / MANIFEST):
        there = read_manifest(folder)
        if there is not None:
            check_origin(folder, there, manifest)
        before = dict(there.files) if there is not None else {}
        merged = dict(sorted({**before, **files}.items()))
        made_by = there.made_by if there is not None and set(before) - set(manifest.files) else manifest.made_by
        now = replace(manifest, made_by=made_by, files=merged)
        if now != there:
            now.save(folder)
    return now


def check_origin(folder: Path, there: DataManifest, wanted: DataManifest) -> None:
    """See that two manifests mean the same data set.

    Raises:
        UsageError: they do not.
    """
    if there.origin != wanted.origin:
        raise UsageError(
            f"{folder} holds another data set, made by: {there.made_by}", "choose another --name, or delete the folder"
        )


def _beside(name: str) -> str:
    """The name itself; a manifest must not lead out of its folder."""
    if not name or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file beside it")
    return name
