"""The CORE bundle, downloaded once.

    {cache}/tasks/eval_bundle.zip            removed when it has been unpacked
                  eval_bundle/               core.yaml, eval_data/, ...
                  eval_bundle/download.json  written last: address, size and SHA-256 of the archive

Nobody publishes a hash of it, so the first download's is recorded here and in every result.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from nanochat.checkpoints.layout import read_json
from nanochat.errors import DamagedError, MissingError
from nanochat.evaluation.core.bundle import CONFIG
from nanochat.runtime.context import RunContext
from nanochat.runtime.download import FetchProgress, FileRequest
from nanochat.runtime.events import OnEvent, StageProgress
from nanochat.runtime.files import atomic_write_json, translate_os_errors
from nanochat.runtime.hub import Hub
from nanochat.stages.fetching import fetch

ADDRESS = "https://karpathy-public.s3.us-west-2.amazonaws.com/eval_bundle.zip"
NAME = "eval_bundle"
RECORD = "download.json"
LARGEST_BYTES = 2_000_000_000  # unpacked; the bundle has some 30 MB


def have_bundle(context: RunContext, given: str | None, hub: Hub, on_event: OnEvent) -> Path:
    """The folder of the bundle: the one that is given, or the downloaded one.

    Raises:
        MissingError: it would have to be downloaded, and may not be; or there is none in the given folder.
        DownloadError, DamagedError, StorageError: it cannot be had.
    """
    if given:
        folder = Path(given).expanduser()
        inner = folder / "eval_bundle"
        return inner if not (folder / CONFIG).exists() and (inner / CONFIG).exists() else folder
    return context.processes.first_does(lambda: _downloaded(context.paths.tasks, hub, on_event))


def downloaded(tasks: Path) -> Path | None:
    """The bundle that was downloaded into the folder of task data; None where none was."""
    folder = tasks / NAME
    return folder if download_record(folder) else None


def download_record(folder: Path) -> dict[str, Any]:
    """What was recorded when a bundle was downloaded; empty for one that was not."""
    return read_json(folder / RECORD) or {}


def _downloaded(tasks: Path, hub: Hub, on_event: OnEvent) -> Path:
    folder = tasks / NAME
    if download_record(folder):
        return folder
    if hub.offline:
        raise MissingError(
            "the CORE bundle would have to be downloaded, and HF_HUB_OFFLINE forbids it",
            f"nanochat data tasks core, where there is a network; or unpack {ADDRESS} and give --bundle DIR"
            " (train: --core-bundle DIR)",
        )
    with translate_os_errors(tasks):
        tasks.mkdir(parents=True, exist_ok=True)
        with FileLock(tasks / ".eval_bundle.lock"):
            if not download_record(folder):  # else another process was faster
                _download(folder, hub, on_event)
    return folder


def _download(folder: Path, hub: Hub, on_event: OnEvent) -> None:
    archive = folder.with_suffix(".zip")

    def tell(progress: FetchProgress) -> None:
        total = max(1, progress.total_bytes)
        on_event(
            StageProgress(stage="eval", done=progress.done_bytes, total=total, unit="bytes", detail="the CORE bundle")
        )

    request = FileRequest(url=ADDRESS, target=archive, check=_check)
    (fetched,) = fetch([request], hub, on_event, tell)
    unpacked = folder.with_name(f".eval_bundle.tmp-{os.getpid()}")
    shutil.rmtree(unpacked, ignore_errors=True)
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(unpacked)
    inner = unpacked if (unpacked / CONFIG).exists() else unpacked / "eval_bundle"
    record = {"url": ADDRESS, "size_bytes": fetched.size_bytes, "sha256": fetched.sha256}
    atomic_write_json(inner / RECORD, record)
    shutil.rmtree(folder, ignore_errors=True)
    inner.rename(folder)
    shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()


def _check(archive: Path) -> None:
    """See that it is an archive that holds a bundle, whole and of ordinary size."""
    try:
        with zipfile.ZipFile(archive) as zipped:
            names = zipped.namelist()
            size = sum(entry.file_size for entry in zipped.infolist())
            broken = zipped.testzip() if size <= LARGEST_BYTES else None
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise DamagedError(f"what came is no archive ({error})", "try again later, or give --bundle DIR") from None
    if broken or size > LARGEST_BYTES or not {CONFIG, f"eval_bundle/{CONFIG}"} & set(names):
        raise DamagedError("the archive that came holds no CORE bundle", "try again later, or give --bundle DIR")
