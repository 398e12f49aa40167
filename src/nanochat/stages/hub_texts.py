"""Data sets of the Hugging Face hub as files to import: `hf:owner/name`, or `hf:owner/name/train*` for some of them.

The files go to the cache folder, one folder a commit, so that the next import finds them there. HF_ENDPOINT, HF_TOKEN
and HF_HUB_OFFLINE are heeded as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from nanochat.errors import MissingError, UsageError
from nanochat.importing.places import READABLE, told_by_name
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent, StageProgress

SIGN = "hf:"

# what stands beside the data: words for people, and descriptions for programs
_NO_DATA = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "config.json"}


def is_of_hub(place: str | Path) -> bool:
    """Whether a place is a data set of the hub."""
    return str(place).startswith(SIGN)


def files_with_text(paths: Sequence[str], pattern: str) -> list[str]:
    """The files with the data: those that fit the pattern, of these parquet alone where there is some."""
    named = [path for path in paths if not pattern or fnmatch(path, pattern) or fnmatch(path, f"{pattern}/*")]
    data = [path for path in named if _is_data(PurePosixPath(path))]
    return [path for path in data if path.endswith(".parquet")] or data


def fetch_from_hub(place: str, context: RunContext, on_event: OnEvent, environ: Mapping[str, str]) -> list[Path]:
    """The files of a data set of the hub, fetched where they are not in the cache.

    Raises:
        UsageError: no name of a data set.
        MissingError: no such data set, no file with data in it, or offline.
        DownloadError: a file cannot be had.
        StorageError: the disk is full and their like.
        Interrupted: stopped by a signal; the same command goes on.
    """
    from nanochat.runtime.download import FetchProgress, FileRequest
    from nanochat.runtime.hub import hub_from_environment
    from nanochat.stages.fetching import fetch

    owner, _, rest = place.removeprefix(SIGN).partition("/")
    name, _, pattern = rest.partition("/")
    if not owner or not name:
        raise UsageError(f"{place} is no name of a data set", f"write it as {SIGN}owner/name")
    repo = f"{owner}/{name}"
    hub = hub_from_environment(environ)
    listing = hub.dataset_files(repo)
    chosen = files_with_text(listing.paths, pattern)
    if not chosen:
        raise MissingError(f"{place} has no file that can be read", f"these kinds can: {READABLE}")
    folder = context.paths.cache / "downloads" / f"{owner}--{name}" / listing.revision
    requests = [
        FileRequest(url=file.url, target=folder / file.path, size_bytes=file.size_bytes, sha256=file.sha256)
        for file in hub.describe(repo, chosen, listing.revision)
    ]

    def on_progress(at: FetchProgress) -> None:
        done, total = at.done_bytes, at.total_bytes or 0
        on_event(StageProgress(stage="data", done=done, total=total, unit="bytes", detail=f"downloading {repo}"))

    fetch(requests, hub, on_event, on_progress)
    return [request.target for request in requests]


def _is_data(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    told = None if hidden or path.name in _NO_DATA else told_by_name(Path(path), named=False)
    return told is not None and path.suffix.lower() not in (".md", ".markdown")
