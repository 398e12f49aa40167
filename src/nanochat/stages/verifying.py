"""The stage that verifies data sets, and mends what can be had again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nanochat.data.listing import list_data_sets, open_folder
from nanochat.data.manifest import MANIFEST, ShardEntry, read_manifest
from nanochat.data.verifying import Verified, adopt_shards, fetched_again, verify
from nanochat.errors import MissingError
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent, StageFinished, StageProgress, StageStarted


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyResult:
    """What was found, and done about it.

    Attributes:
        verified: the state at the end, after repairs.
        repaired: files that were downloaded again.
        adopted: a manifest was written.
        way_out: what to do about the damage that is left; "" for none.
    """

    verified: Verified
    repaired: tuple[str, ...] = ()
    adopted: bool = False
    way_out: str = ""

    def lines(self) -> Iterable[str]:
        """The result in words, one line a finding."""
        verified = self.verified
        files = f"{verified.files} file{'' if verified.files == 1 else 's'}"
        if not verified.damage:
            how = (
                "as written" if verified.has_manifest else "readable (no manifest to compare with; --adopt writes one)"
            )
            yield f"{verified.name}: {files} {how}"
        else:
            yield f"{verified.name}: damaged"
        for item in verified.damage:
            group = "" if item.row_group is None else f" row group {item.row_group}:"
            yield f"  {item.file}{group} {item.what}"
        for name in self.repaired:
            yield f"  {name} was downloaded again"
        if self.adopted:
            yield "  manifest written"
        for name in verified.unlisted:
            yield f"  {name} is not in the manifest and not used"


def verify_data(
    names: Sequence[str],
    context: RunContext,
    on_event: OnEvent,
    *,
    repair: bool = False,
    adopt: bool = False,
    environ: Mapping[str, str],
) -> list[VerifyResult]:
    """Verify data sets.

    Args:
        names: of data sets; none for all.
        context: where things live.
        on_event: told of the progress.
        repair: download again what is damaged and came from a server.
        adopt: write a manifest where there is none that can be read, and no shard is damaged.
        environ: says how to reach the server.

    Raises:
        MissingError: there is no such data set, or none at all.
        DownloadError: a file cannot be had again.
        Interrupted: stopped while files were fetched; the same command goes on.
    """
    started = time.perf_counter()
    folders = [open_folder(context.paths, name) for name in names or [e.name for e in list_data_sets(context.paths)]]
    if not folders:
        raise MissingError(f"there is no data set in {context.paths.base / 'data'}", "nanochat data import PATH")
    on_event(StageStarted(stage="data", tag=", ".join(names), total_steps=0))
    results = [_one(folder, on_event, repair, adopt, environ) for folder in folders]
    on_event(StageFinished(stage="data", step=0, elapsed_s=time.perf_counter() - started))
    return results


def _one(folder: Path, on_event: OnEvent, repair: bool, adopt: bool, environ: Mapping[str, str]) -> VerifyResult:
    def on_file(name: str, done: int, total: int) -> None:
        detail = f"{folder.name}/{name}"
        on_event(StageProgress(stage="data", done=done, total=total, unit="bytes", detail=detail))

    verified = verify(folder, on_file)
    manifest = read_manifest(folder) if verified.has_manifest else None
    repaired: tuple[str, ...] = ()
    again, lost = fetched_again(manifest, verified.damage)
    if again and repair:
        _fetch(folder, again, on_event, environ)
        repaired = tuple(again)
        verified = verify(folder, on_file)
        again, lost = fetched_again(manifest, verified.damage)
    adopted = adopt and not verified.has_manifest and all(item.file == MANIFEST for item in verified.damage)
    if adopted:
        adopt_shards(folder)
        verified = verify(folder, on_file)
        again, lost = fetched_again(None, verified.damage)
    way_out = f"nanochat data verify {folder.name} --repair" if again else ""
    if lost == [MANIFEST]:
        way_out = f"nanochat data verify {folder.name} --adopt"
    elif lost:
        way_out = manifest.made_by if manifest else f"nanochat data import PATH --name {folder.name}"
    return VerifyResult(verified=verified, repaired=repaired, adopted=adopted, way_out=way_out)


def _fetch(folder: Path, entries: Mapping[str, ShardEntry], on_event: OnEvent, environ: Mapping[str, str]) -> None:
    from nanochat.runtime.download import FetchProgress, FileRequest
    from nanochat.runtime.hub import hub_from_environment
    from nanochat.stages.fetching import fetch

    def on_progress(at: FetchProgress) -> None:
        done, total = at.done_bytes, at.total_bytes
        on_event(StageProgress(stage="data", done=done, total=total, unit="bytes", detail="downloading"))

    requests = [
        FileRequest(url=entry.url, target=folder / name, size_bytes=entry.size_bytes, sha256=entry.sha256)
        for name, entry in entries.items()
    ]
    fetch(requests, hub_from_environment(environ), on_event, on_progress)
