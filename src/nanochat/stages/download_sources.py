"""Which files a source consists of: a known one, any data set on the hub, or addresses.

A known source whose shards are all there is answered from the manifest of the data set, without opening a connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from nanochat.config.download import DownloadConfig, parse_shards
from nanochat.config.train import BaseTrainConfig
from nanochat.data.manifest import read_manifest, shard_name
from nanochat.data.sources import SOURCES, Source, choose_files, footer_columns, shards_for, with_validation
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.download import not_offline
from nanochat.runtime.files import translate_os_errors
from nanochat.runtime.http import Http, is_address, read_tail, remote_size, shown
from nanochat.runtime.hub import Hub, HubFile
from nanochat.runtime.paths import NAME
from nanochat.training.horizon import RULES

VOCABULARY = 32_768  # of the models that `--for` counts for
DEFAULT_SHARDS = range(8)
_TAIL_BYTES = 1 << 18  # the footer of a shard is some 50 kB


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedFile:
    """A file to have.

    Attributes:
        name: in the folder of the plan; may lead into folders of it.
        url: where it is to be had.
        split: train or val.
        size_bytes: None where nobody says it.
        sha256: "" where nobody says it.
        there: it is on disk, whole.
        there_bytes: that have arrived.
    """

    name: str
    url: str
    split: Literal["train", "val"] = "train"
    size_bytes: int | None = None
    sha256: str = ""
    there: bool = False
    there_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """The files of a source, and whether they are shards already."""

    what: str
    origin: Mapping[str, Any]
    files: Sequence[PlannedFile]
    as_shards: bool


def wanted_files(config: DownloadConfig, hub: Hub, urls: Sequence[str], folder: Path) -> Wanted:
    """The files to have.

    Args:
        config: the dials.
        hub: which hub.
        urls: addresses in place of a source.
        folder: of the data set, as it is so far.

    Raises:
        UsageError: shards that do not exist.
        MissingError: no such data set, or offline and it would have to be looked up.
        DownloadError: no answer.
    """
    if urls:
        return _from_addresses(config, hub, urls, folder)
    if config.source in SOURCES:
        return _from_known(config, hub, SOURCES[config.source], folder)
    return _from_hub(config, hub, folder)


def _from_known(config: DownloadConfig, hub: Hub, source: Source, folder: Path) -> Wanted:
    """Shards of one of `SOURCES`. Their names are known without asking anyone."""
    numbers = with_validation(_shards(config) or DEFAULT_SHARDS, source.last, config.source)
    names = [shard_name(number) for number in numbers]
    pinned = _pinned(folder, source.repo)
    revision = pinned if config.revision in ("", pinned) else ""
    files = _complete(folder, names) if revision else None
    if files is None:
        if hub.offline and (lacking := [name for name in names if file_size(folder / name) is None]):
            raise not_offline(lacking)
        revision = revision or hub.dataset_files(source.repo, config.revision).revision
        described = hub.describe(source.repo, names, revision)
        files = _shard_files(described, numbers, source.last)
    return Wanted(
        what=f"{source.repo} at {revision[:12]}",
        origin={"repo": source.repo, "revision": revision},
        files=files,
        as_shards=True,
    )


def _from_hub(config: DownloadConfig, hub: Hub, folder: Path) -> Wanted:
    """Files of any data set on the hub. Parquet with a column `text` is a shard, the last file for validation."""
    repo = config.source
    if repo.count("/") != 1:
        raise UsageError(f"{repo!r} is no known source", f"choose {', '.join(SOURCES)}, or owner/name on the hub")
    if config.for_model:
        raise UsageError(f"--for counts shards of {' and '.join(SOURCES)}, not of {repo}", "say how many with -n")
    pinned = _pinned(folder, repo)
    revision = pinned if config.revision in ("", pinned) else config.revision
    choice = {"subset": config.subset, "split": config.split}
    shards = _shards(config)
    manifest = read_manifest(folder) if hub.offline and pinned else None
    if manifest is not None and (files := _complete(folder, sorted(manifest.files))):
        origin = {"repo": repo, "revision": revision, **choice}
        return Wanted(what=f"{repo} at {revision[:12]}", origin=origin, files=files, as_shards=True)
    listing = hub.dataset_files(repo, revision)
    paths = choose_files(listing.paths, config.subset, config.split)
    if not paths:
        raise MissingError(
            f"none of the {len(listing.paths):,} files of {repo} is text that was asked for",
            f"look at {shown(hub.endpoint)}/datasets/{repo}/tree/main, then use --subset and --split",
        )
    first = hub.url(repo, paths[0], listing.revision)
    as_shards = len(paths) > 1 and _is_shard(config, hub, first)
    if as_shards:
        numbers = with_validation(shards or range(len(paths) - 1), len(paths) - 1, repo)
    else:
        numbers = list(shards or range(len(paths)))
        if numbers[-1] >= len(paths):
            raise UsageError(f"{repo} has the files 0 to {len(paths) - 1:,}, not {numbers[-1]:,}", "ask for fewer")
    described = hub.describe(repo, [paths[number] for number in numbers], listing.revision)
    return Wanted(
        what=f"{repo} at {listing.revision[:12]}",
        origin={"repo": repo, "revision": listing.revision, **choice},
        files=_shard_files(described, numbers, len(paths) - 1)
        if as_shards
        else [
            PlannedFile(name=file.path, url=file.url, size_bytes=file.size_bytes, sha256=file.sha256)
            for file in described
        ],
        as_shards=as_shards,
    )


def _from_addresses(config: DownloadConfig, hub: Hub, urls: Sequence[str], folder: Path) -> Wanted:
    """Files by their addresses. Several parquet files with a column `text` are shards."""
    names = [_file_name(url) for url in urls]
    what = shown(urls[0]) if len(urls) == 1 else f"{len(urls)} addresses, the first {shown(urls[0])}"
    origin = {"addresses": [shown(url) for url in urls]}
    shards = [shard_name(number) for number in range(len(urls))]
    manifest = read_manifest(folder)
    if manifest is not None and manifest.origin == origin and (files := _complete(folder, shards)) is not None:
        return Wanted(what=what, origin=origin, files=files, as_shards=True)
    parquet = len(urls) > 1 and all(name.endswith(".parquet") for name in names)
    as_shards = parquet and not hub.offline and _is_shard(config, hub, urls[0])
    distinct = names if len(set(names)) == len(names) else [f"{i:05d}-{name}" for i, name in enumerate(names)]
    http = Http(credentials=hub.credentials)
    planned = [
        PlannedFile(
            name=shards[i] if as_shards else distinct[i],
            url=url,
            split="val" if as_shards and i == len(urls) - 1 else "train",
            size_bytes=None if hub.offline else remote_size(http, url),
        )
        for i, url in enumerate(urls)
    ]
    http.close()
    return Wanted(what=what, origin=origin, files=planned, as_shards=as_shards)


def check_addresses(config: DownloadConfig, urls: Sequence[str]) -> None:
    """See that addresses are some, and that nothing else was asked of them.

    Raises:
        UsageError: they are not.
    """
    for url in urls:
        if not is_address(url):
            raise UsageError(f"{url!r} is no address", "give http:// or https://, or --source owner/name")
    if len(set(urls)) < len(urls):
        raise UsageError("an address is given twice", "give each once")
    if urls and (config.shards or config.for_model):
        raise UsageError("-n and --for choose shards of a --source, not addresses", "leave them out")


def _shard_files(described: Sequence[HubFile], numbers: Sequence[int], last: int) -> list[PlannedFile]:
    return [
        PlannedFile(
            name=shard_name(number),
            url=file.url,
            split="val" if number == last else "train",
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )
        for number, file in zip(numbers, described, strict=True)
    ]


def _complete(folder: Path, names: Sequence[str]) -> list[PlannedFile] | None:
    """These shards as the manifest knows them, if all of them are there."""
    manifest = read_manifest(folder)
    if manifest is None or not set(names) <= set(manifest.files):
        return None
    files = []
    for name in names:
        entry = manifest.files[name]
        if file_size(folder / name) != entry.size_bytes:
            return None
        files.append(
            PlannedFile(name=name, url=entry.url, split=entry.split, size_bytes=entry.size_bytes, sha256=entry.sha256)
        )
    return files


def _is_shard(config: DownloadConfig, hub: Hub, url: str) -> bool:
    """Whether a file is parquet with a column `text`, by its footer."""
    if config.column != "text" or not _file_name(url).endswith(".parquet"):
        return False
    http = Http(credentials=hub.credentials)
    tail = read_tail(http, url, _TAIL_BYTES)
    http.close()
    return tail is not None and "text" in (footer_columns(tail) or ())


def _shards(config: DownloadConfig) -> range | None:
    """The training shards that were asked for; None when it was left to us."""
    if config.for_model:
        model = BaseTrainConfig(depth=config.depth).model(VOCABULARY)
        return shards_for(RULES["modern"].tokens(model))
    return parse_shards(config.shards) if config.shards else None


def _pinned(folder: Path, repo: str) -> str:
    """The commit that the data set was made of so far; "" where there is none of this repository."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.origin.get("repo") != repo:
        return ""
    return str(manifest.origin.get("revision", ""))


def data_set_name(config: DownloadConfig, urls: Sequence[str]) -> str:
    """The given name, else one made of the source's."""
    if config.name:
        return config.name
    source = _file_name(urls[0]).partition(".")[0] if urls else config.source.rpartition("/")[2]
    return "".join(char if NAME.fullmatch(f"a{char}") else "-" for char in source).lstrip(".-") or "download"


def _file_name(url: str) -> str:
    """The last part of an address as a name in a folder; never one that leads out of it."""
    name = re.split(r"[/\\\\]", unquote(shown(url)))[-1]
    return name if name.isprintable() and name.strip(".") else "file"


def file_size(path: Path) -> int | None:
    """Bytes of a file; None where there is none."""
    with translate_os_errors(path):
        return path.stat().st_size if path.is_file() else None
