"""Task data: fetched once, from the hub into the layout that `tasks.hub` looks for, and CORE's bundle from its address.

Every file of the hub is checked against its SHA-256; a stopped fetch goes on where it was. HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE are heeded as everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.context import RunContext
from nanochat.runtime.download import FetchProgress, FileRequest
from nanochat.runtime.events import OnEvent, StageFinished, StageProgress
from nanochat.runtime.files import atomic_write_json
from nanochat.runtime.hub import Hub, hub_from_environment
from nanochat.stages.core_bundle import ADDRESS, downloaded, have_bundle
from nanochat.stages.fetching import STAGE, fetch
from nanochat.tasks.hub import MANIFEST, SETS, WORDS, WORDS_FILE, WORDS_URL, Places, find_files, find_words
from nanochat.tasks.names import CHATCORE, CORE, DESCRIPTIONS, canonical

ON_WORDS = ("spellingbee", "simplespelling")
GROUPS = {"chatcore": CHATCORE, "all": (*DESCRIPTIONS, CORE), WORDS: ON_WORDS[:1]}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskData:
    """What is there of a task: the splits by name, with the folder or file of each; None where it is missing."""

    name: str
    description: str
    source: str
    splits: Mapping[str, Path | None]

    @property
    def complete(self) -> bool:
        """Whether all of it is there."""
        return all(self.splits.values())


def list_task_data(places: Places) -> list[TaskData]:
    """All tasks that need data, and what is there of them."""
    found = []
    for name, description in DESCRIPTIONS.items():
        if name in SETS:
            files = {split: find_files(name, split, places) for split in SETS[name].splits}
            splits = {split: paths[0].parent if paths else None for split, paths in files.items()}
            source = SETS[name].repo
        else:
            try:
                words: Path | None = find_words(places)
            except MissingError:
                words = None
            splits, source = {"words": words}, WORDS_FILE
        found.append(TaskData(name=name, description=description, source=source, splits=splits))
    found.append(
        TaskData(
            name=CORE,
            description="the 22 tasks of CORE, for eval base",
            source=Path(ADDRESS).name,
            splits={"bundle": downloaded(places.downloads)},
        )
    )
    return found


def fetch_task_data(
    names: Sequence[str], context: RunContext, on_event: OnEvent, environ: Mapping[str, str]
) -> list[TaskData]:
    """Fetch what is missing of these tasks.

    Args:
        names: tasks, `chatcore`, `words`, `core` or `all`.
        context: says where they go.
        on_event: told of the progress.
        environ: says which hub.

    Returns:
        What is there now, in the order of the names.

    Raises:
        UsageError: no such task.
        MissingError: offline, or the hub has it no longer.
        DownloadError, StorageError: a file cannot be had, or not be kept.
        Interrupted: stopped; the same command goes on.
    """
    started = time.perf_counter()
    wanted = [task for name in names for task in GROUPS.get(name.lower(), (canonical(name),))]
    if unknown := [name for name in wanted if name not in (*DESCRIPTIONS, CORE)]:
        known = ", ".join((*DESCRIPTIONS, CORE, *GROUPS))
        raise UsageError(f"no task {', '.join(unknown)} that needs data", f"choose among {known}")
    wanted = list(dict.fromkeys(wanted))
    hub = hub_from_environment(environ)
    places = Places.of(context.paths)
    for name in wanted:
        if name in SETS:
            _fetch_set(name, places, hub, on_event)
        elif name == CORE:
            have_bundle(context, None, hub, on_event)
        else:
            _fetch_words(places, hub, on_event)
    on_event(StageFinished(stage=STAGE, step=0, elapsed_s=time.perf_counter() - started))
    there = {data.name: data for data in list_task_data(places)}
    return [there[name] for name in wanted]


def _fetch_set(name: str, places: Places, hub: Hub, on_event: OnEvent) -> None:
    about = SETS[name]
    missing = [split for split in about.splits if not find_files(name, split, places)]
    if not missing:
        return
    listing = hub.dataset_files(about.repo)
    folders: dict[Path, list[str]] = {}
    requests: list[FileRequest] = []
    for split in missing:
        hub_split = about.splits[split]
        paths = sorted(path for path in listing.paths if fnmatch(path, about.files_of(hub_split)))
        if not paths:
            raise MissingError(
                f"{about.repo} has no {about.files_of(hub_split)} any more",
                "fetch the files by hand and name their folder with --task-data",
            )
        folder = places.downloads / about.folder / about.subset / hub_split
        folders[folder] = [f"{number:05d}.parquet" for number in range(len(paths))]
        described = hub.describe(about.repo, paths, listing.revision)
        requests += [
            FileRequest(
                url=file.url, target=folder / target, size_bytes=file.size_bytes, sha256=file.sha256, check=_is_parquet
            )
            for file, target in zip(described, folders[folder], strict=True)
        ]
    fetch(requests, hub, on_event, _progress(name, on_event))
    for folder, files in folders.items():
        atomic_write_json(folder / MANIFEST, files)


def _fetch_words(places: Places, hub: Hub, on_event: OnEvent) -> None:
    try:
        find_words(places)
    except MissingError:
        target = places.downloads / WORDS / WORDS_FILE
        fetch([FileRequest(url=WORDS_URL, target=target, check=_is_text)], hub, on_event, _progress(WORDS, on_event))


def _progress(name: str, on_event: OnEvent) -> Callable[[FetchProgress], None]:
    def on_progress(at: FetchProgress) -> None:
        done, total = at.done_bytes, at.total_bytes or 0
        on_event(StageProgress(stage=STAGE, done=done, total=total, unit="bytes", detail=f"downloading {name}"))

    return on_progress


def _is_parquet(path: Path) -> None:
    """Refuses what a proxy sends in place of a file.

    Raises:
        DamagedError: no parquet.
    """
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            raise DamagedError(f"what came as {path} is no parquet file", "does a proxy answer in the hub's place?")


def _is_text(path: Path) -> None:
    """The same for words.

    Raises:
        DamagedError: no list of words.
    """
    with path.open("rb") as file:
        if not file.read(1000).replace(b"\r", b"").replace(b"\n", b"").isalpha():
            raise DamagedError(f"what came from {WORDS_URL} is no list of words", "does a proxy answer in its place?")
