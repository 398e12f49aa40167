"""A data set: a folder of parquet shards, one of which is for validation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanochat.data.manifest import DataManifest, read_manifest
from nanochat.data.shards import count_rows
from nanochat.data.sources import SOURCES
from nanochat.errors import MissingError
from nanochat.runtime.files import translate_os_errors


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """The shards of one folder in name order.

    Its manifest says which there are and which is for validation; without one the last by name is.
    """

    name: str
    train: tuple[Path, ...]
    validation: Path

    @classmethod
    def open(cls, folder: Path) -> DataSet:
        """Look for shards in `folder`.

        Raises:
            MissingError: none, or none but the one for validation, or one that the manifest lists is not there.
            DamagedError: the manifest cannot be read.
        """
        name = folder.name
        with translate_os_errors(folder):
            shards = tuple(sorted(folder.glob("shard_*.parquet"))) if folder.exists() else ()
        manifest = read_manifest(folder)
        if manifest is not None:
            return cls._listed(folder, manifest, set(shards))
        if len(shards) < 2:
            have = "no shards" if not shards else "one shard; the last one is kept for validation"
            raise MissingError(f"data set {name!r} has {have} in {folder}", _command_for(name))
        return cls(name=name, train=shards[:-1], validation=shards[-1])

    @classmethod
    def _listed(cls, folder: Path, manifest: DataManifest, there: set[Path]) -> DataSet:
        train = tuple(folder / shard for shard in manifest.train)
        validation = folder / manifest.validation
        lacking = sorted(path.name for path in {*train, validation} - there)
        if lacking:
            entries = [manifest.files.get(name) for name in lacking]
            come_again = all(entry is not None and entry.url for entry in entries)
            hint = f"nanochat data verify {folder.name} --repair" if come_again else manifest.made_by
            raise MissingError(f"data set {folder.name!r} lacks {', '.join(lacking[:3])} in {folder}", hint)
        if not train:
            raise MissingError(f"data set {folder.name!r} has nothing but its validation shard", manifest.made_by)
        return cls(name=folder.name, train=train, validation=validation)


def _command_for(name: str) -> str:
    """What makes a data set of this name."""
    if name == "pocket":
        return "nanochat data pocket"
    if name in SOURCES:
        return f"nanochat data download --source {name}"
    return f"nanochat data import PATH --name {name}"


def count_documents(dataset: DataSet) -> int:
    """Documents in the training shards, from the files' footers.

    Raises:
        DamagedError: a shard is not readable parquet.
    """
    return sum(count_rows(path) for path in dataset.train)
