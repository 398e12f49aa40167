"""What a download will do: which files, how large, where to, and which of them are there."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nanochat.config.download import DownloadConfig
from nanochat.data.manifest import DataManifest, ShardEntry, check_origin, read_manifest
from nanochat.runtime.context import RunContext
from nanochat.runtime.files import translate_os_errors
from nanochat.runtime.http import without_password
from nanochat.runtime.hub import Hub
from nanochat.runtime.partial import partial_bytes
from nanochat.stages.download_sources import PlannedFile, check_addresses, data_set_name, file_size, wanted_files


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadPlan:
    """What a download will do.

    Attributes:
        name: of the data set.
        what: where it comes from, for people.
        folder: where the files go.
        files: all of them, those that are there included.
        manifest: of the data set, listing what `files` will be; None when they have to be imported.
        free_bytes: on the disk of `folder`.
        made_by: the command that makes the data set, or completes it.
    """

    name: str
    what: str
    folder: Path
    files: tuple[PlannedFile, ...]
    manifest: DataManifest | None
    free_bytes: int
    made_by: str

    @property
    def total_bytes(self) -> int:
        """Of all files, as far as sizes are known."""
        return sum(file.size_bytes or file.there_bytes for file in self.files)

    @property
    def fetch_bytes(self) -> int:
        """Still to come, as far as sizes are known."""
        return sum(max(0, (file.size_bytes or 0) - file.there_bytes) for file in self.files if not file.there)

    @property
    def sizes_known(self) -> bool:
        """Whether the two figures are the whole truth."""
        return all(file.there or file.size_bytes is not None for file in self.files)


def plan_download(config: DownloadConfig, context: RunContext, hub: Hub, urls: Sequence[str] = ()) -> DownloadPlan:
    """Make the plan.

    Args:
        config: the dials.
        context: where things live.
        hub: which hub.
        urls: addresses of files, in place of a source.

    Raises:
        UsageError: shards that do not exist, or another data set has this name.
        MissingError: no such data set, or offline and it would have to be looked up.
        DownloadError: no answer.
    """
    check_addresses(config, urls)
    name = data_set_name(config, urls)
    folder = context.paths.data(name)
    there = read_manifest(folder)
    wanted = wanted_files(config, hub, urls, folder)
    made_by = _command(config, name, urls)
    manifest = None
    if wanted.as_shards:
        manifest = DataManifest(
            name=name,
            made_by=made_by,
            validation=next(file.name for file in wanted.files if file.split == "val"),
            origin=wanted.origin,
            files={
                file.name: ShardEntry(size_bytes=file.size_bytes or 0, sha256=file.sha256, split=file.split)
                for file in wanted.files
            },
        )
        if there is not None:
            check_origin(folder, there, manifest)
    else:
        folder = context.paths.downloads(name) / _digest(wanted.origin)
        there = None  # of another folder
    return DownloadPlan(
        name=name,
        what=wanted.what,
        folder=folder,
        files=tuple(_on_disk(folder, file, there) for file in wanted.files),
        manifest=manifest,
        free_bytes=_free_bytes(folder),
        made_by=made_by,
    )


def _on_disk(folder: Path, file: PlannedFile, manifest: DataManifest | None) -> PlannedFile:
    """The file with what has arrived of it. It is there when the manifest says so, else it will be looked at again."""
    path = folder / file.name
    size = file_size(path)
    entry = manifest.files.get(file.name) if manifest is not None else None
    if entry is not None and entry.size_bytes == size and file.sha256 in ("", entry.sha256):
        return replace(file, there=True, there_bytes=size, size_bytes=size, sha256=entry.sha256)
    if size is not None and file.size_bytes in (None, size):
        return replace(file, there_bytes=size)
    return replace(file, there_bytes=partial_bytes(path))


def _command(config: DownloadConfig, name: str, urls: Sequence[str]) -> str:
    """The command that makes the data set, or completes it."""
    words = ["nanochat", "data", "download"]
    if urls:
        words += [without_password(url) for url in urls]
    else:
        words += ["--source", config.source]
    if config.shards or config.for_model:
        words += ["-n", config.shards] if config.shards else ["--for", config.for_model]
    for option in ("subset", "split", "column", "revision"):
        if getattr(config, option) != getattr(DownloadConfig(), option):
            words += [f"--{option}", getattr(config, option)]
    if name != data_set_name(replace(config, name=""), urls):
        words += ["--name", name]
    return shlex.join(words)


def _digest(origin: Mapping[str, Any]) -> str:
    """Tells files of one name from those of another source."""
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:12]


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    with translate_os_errors(folder):
        return shutil.disk_usage(folder).free
