"""What a data set consists of: `manifest.json` beside its shards.

It names the shard for validation, so that the choice does not depend on how many others are there; says what every
file must be; and keeps the command that makes the data set again. Folders without one are data sets too, whose last
shard by name is for validation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nanochat.errors import DamagedError
from nanochat.runtime.files import atomic_write_json, translate_os_errors

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
        files = {_shard_name(name): ShardEntry(**entry) for name, entry in values.pop("files").items()}
        return DataManifest(**{**values, "validation": _shard_name(values["validation"])}, files=files)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(
            f"{path} is not the manifest of a data set: {error}",
            "delete the file (the last shard is then for validation), or make the data set again",
        ) from error


def _shard_name(name: str) -> str:
    """The name itself; a manifest must not lead out of its folder."""
    if not name or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a file beside it")
    return name
