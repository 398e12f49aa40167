"""Data sets from elsewhere: the files of a plan, each into the manifest as it arrives.

Shards (parquet with a column `text`) go straight into the folder of the data set. Files of other kinds go to the
cache, for an import to make shards of. Stopped or killed at any moment, the same call goes on.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

from nanochat.config.download import DownloadConfig
from nanochat.data.manifest import ShardEntry, add_files
from nanochat.data.shards import count_rows
from nanochat.data.sources import check_shard
from nanochat.errors import StorageError
from nanochat.runtime.download import Fetched, FetchProgress, FileRequest, Limits
from nanochat.runtime.events import OnEvent, StageFinished, StageProgress, StageStarted
from nanochat.runtime.http import without_password
from nanochat.runtime.hub import Hub
from nanochat.stages.download_plan import DownloadPlan
from nanochat.stages.download_sources import PlannedFile
from nanochat.stages.fetching import STAGE, fetch

MARGIN_BYTES = 100_000_000  # left free: a full disk stops more than this command
_SHOWN = 4  # files under way that a line has room for


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloaded:
    """What a download did.

    Attributes:
        name: of the data set.
        folder: where its files are.
        files: all that were asked for, in order.
        size_bytes: of these.
        fetched: how many of them came in this run.
    """

    name: str
    folder: Path
    files: tuple[Path, ...]
    size_bytes: int
    fetched: int


def check_disk(plan: DownloadPlan) -> None:
    """See that there is room for what is still to come.

    Raises:
        StorageError: there is not.
    """
    if plan.fetch_bytes and plan.fetch_bytes + MARGIN_BYTES > plan.free_bytes:
        raise StorageError(
            f"{plan.fetch_bytes / 1e9:.1f} GB are still to come, and the disk of {plan.folder} has "
            f"{plan.free_bytes / 1e9:.1f} GB free",
            "ask for fewer shards with -n, free some space, or use --base-dir",
        )


def download(
    plan: DownloadPlan, config: DownloadConfig, hub: Hub, on_event: OnEvent, limits: Limits | None = None
) -> Downloaded:
    """Fetch what the plan lacks.

    Raises:
        DownloadError: some files could not be had; the others are there.
        MissingError: offline, and files are not there.
        StorageError: no room, no permission and their like.
        Interrupted: stopped by a signal; the same command goes on.
    """
    started = time.perf_counter()
    lacking = [file for file in plan.files if not file.there]
    if not lacking:
        with contextlib.suppress(StorageError):  # a folder to read only will do
            _record(plan, {})  # the command that makes all of it may be another one now
        on_event(StageFinished(stage=STAGE, step=0, elapsed_s=0.0, skipped=True))
        return _done(plan, 0)
    check_disk(plan)
    before = sum(file.there_bytes for file in plan.files)
    on_event(StageStarted(stage=STAGE, tag=plan.name, total_steps=0, resumed_from=before or None))
    there = sum(file.there_bytes for file in plan.files if file.there)
    by_path = {plan.folder / file.name: file for file in lacking}
    fetched = 0

    def on_progress(at: FetchProgress) -> None:
        detail = _under_way(at, len(plan.files) - len(lacking))
        done, total = there + at.done_bytes, there + at.total_bytes
        on_event(StageProgress(stage=STAGE, done=done, total=total, unit="bytes", detail=detail))

    def on_fetched(file: Fetched) -> None:
        nonlocal fetched
        fetched += not file.here_before
        if plan.manifest is not None:
            planned = by_path[file.request.target]
            _record(plan, {planned.name: _entry(planned, file)})

    fetch(
        [_request(plan, file) for file in lacking],
        hub,
        on_event,
        on_progress,
        workers=config.workers,
        on_fetched=on_fetched,
        limits=limits,
    )
    done = _done(plan, fetched)
    on_event(
        StageFinished(
            stage=STAGE,
            step=0,
            elapsed_s=time.perf_counter() - started,
            summary={"shards" if plan.manifest else "files": len(done.files), "bytes": done.size_bytes},
        )
    )
    return done


def _request(plan: DownloadPlan, file: PlannedFile) -> FileRequest:
    return FileRequest(
        url=file.url,
        target=plan.folder / file.name,
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        check=check_shard if plan.manifest is not None else None,
    )


def _entry(planned: PlannedFile, file: Fetched) -> ShardEntry:
    return ShardEntry(
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        split=planned.split,
        documents=count_rows(file.request.target),
        url=without_password(planned.url),
    )


def _record(plan: DownloadPlan, entries: dict[str, ShardEntry]) -> None:
    if plan.manifest is not None:
        add_files(plan.folder, plan.manifest, entries)


def _done(plan: DownloadPlan, fetched: int) -> Downloaded:
    files = tuple(plan.folder / file.name for file in plan.files)
    return Downloaded(
        name=plan.name,
        folder=plan.folder,
        files=files,
        size_bytes=sum(path.stat().st_size for path in files),
        fetched=fetched,
    )


def _under_way(at: FetchProgress, there: int) -> str:
    """`3 of 9 files; 00003 42%  00004 17%`."""
    names = [
        f"{name.removeprefix('shard_').removesuffix('.parquet')} {100 * done // total if total else 0}%"
        for name, done, total in at.active[:_SHOWN]
    ]
    more = len(at.active) - _SHOWN
    more_text = f"  and {more} more" if more > 0 else ""
    return f"{there + at.files_done} of {there + at.files} files; {'  '.join(names)}{more_text}".rstrip("; ")
