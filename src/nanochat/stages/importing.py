"""The stage that makes a data set of files."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nanochat.config.fields import options_of
from nanochat.config.importing import ImportConfig
from nanochat.data.manifest import DataManifest, read_manifest
from nanochat.errors import DamagedError, NanochatError, UsageError
from nanochat.importing.losses import Losses
from nanochat.importing.places import TextFile, find_files
from nanochat.importing.reading import How, look_into, read_file, text_bytes_about
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Notice, OnEvent, StageFinished, StageProgress, StageStarted
from nanochat.runtime.files import translate_os_errors
from nanochat.stages.hub_texts import fetch_from_hub, is_of_hub
from nanochat.stages.import_result import ImportResult, in_words, tell_losses, tell_passed_over
from nanochat.tokenizer.train import TextBatch

VERSION = 1  # of what the same files and settings give

Replace = Callable[[str], object]
"""Asked before another data set is replaced; raises to refuse."""


def import_texts(
    config: ImportConfig,
    places: Sequence[str | Path],
    context: RunContext,
    on_event: OnEvent,
    *,
    made_by: str = "",
    replace: Replace | None = None,
    environ: Mapping[str, str] | None = None,
) -> ImportResult:
    """Make a data set of files; at once where the same was made before and is whole, anew where it is damaged.

    Args:
        config: the dials.
        places: files, folders, patterns, and data sets of the Hugging Face hub (hf:owner/name).
        context: where things live.
        on_event: told of the progress, and of what could not be read.
        made_by: the command to keep in the manifest; by default `nanochat data import` with these places.
        replace: asked before another data set of that name is replaced; without it that is an error.
        environ: says how to reach the hub.

    Raises:
        MissingError: a place does not exist.
        DownloadError: a file of the hub cannot be had.
        UsageError: nothing can be read there, a file has no column with text, another data set has that name, or
            fewer than two documents are left.
        StorageError: the disk is full, a file may not be read and their like.
    """
    from nanochat.importing.build import is_whole

    started = time.perf_counter()
    folder = context.paths.data(config.name)
    found = find_files(_on_disk(places, context, on_event, environ or {}))
    origin = {"import": {"version": VERSION, "settings": _what_matters(config), "inputs": _inputs(found.files)}}
    manifest = _manifest(folder)
    if manifest is not None and manifest.origin == origin:
        with translate_os_errors(folder):
            if is_whole(folder, manifest):
                on_event(StageFinished(stage="data", step=0, elapsed_s=0.0, skipped=True))
                return _result(folder, manifest, len(found.files), already=True)
    else:
        _may_replace(folder, manifest, replace)
    if found.passed_over:
        tell_passed_over(found.passed_over, on_event)
    on_event(StageStarted(stage="data", tag=config.name, total_steps=0))
    made_by = made_by or command(config, places)
    work = _Import(config, folder, found.files, on_event)
    try:
        result = work.run(origin, made_by)
    except UsageError:  # too little is left, and what was lost may be why
        tell_losses(work.losses, config.encoding, on_event)
        raise
    tell_losses(work.losses, config.encoding, on_event)
    on_event(Notice(stage="data", level="info", message=in_words(result)))
    summary = {"shards": result.shards, "bytes": result.text_bytes, "documents": result.documents}
    on_event(StageFinished(stage="data", step=0, elapsed_s=time.perf_counter() - started, summary=summary))
    return result


def command(config: ImportConfig, places: Sequence[str | Path]) -> str:
    """The command that imports these places so, from any folder."""
    words = ["nanochat", "data", "import"]
    words += [str(place) if is_of_hub(place) else str(Path(place).expanduser().absolute()) for place in places]
    for spec in options_of(ImportConfig):
        value = getattr(config, spec.name)
        if value is True:
            words.append(spec.flags[0])
        elif value != spec.default or spec.name == "name":
            words += [spec.flags[0], spec.to_text(value)]
    return shlex.join(words)


def _on_disk(
    places: Sequence[str | Path], context: RunContext, on_event: OnEvent, environ: Mapping[str, str]
) -> list[str | Path]:
    """The places, with files in the cache for those on the hub."""
    local: list[str | Path] = []
    for place in places:
        local += fetch_from_hub(str(place), context, on_event, environ) if is_of_hub(place) else [place]
    return local


class _Import:
    """One import under way."""

    def __init__(self, config: ImportConfig, folder: Path, files: Sequence[TextFile], on_event: OnEvent) -> None:
        self.config = config
        self.folder = folder
        self.files = files
        self.on_event = on_event
        self.losses = Losses()
        self.how = How(column=config.column, documents=config.documents, encoding=config.encoding)

    def run(self, origin: dict[str, Any], made_by: str) -> ImportResult:
        from nanochat.importing.build import Settings, build_shards, need_disk, put_in_place, sweep

        config, folder = self.config, self.folder
        columns = self._columns()
        text_bytes = sum(text_bytes_about(file, column) for file, column in columns.items())
        built = folder.with_name(f".{folder.name}.importing")
        settings = Settings(
            min_chars=config.min_chars,
            unique=not config.keep_duplicates,
            validation_share=config.validation_share,
            seed=config.seed,
            shard_bytes=config.shard_size,
        )
        with translate_os_errors(folder), _alone(folder):
            sweep(built, folder)
            need_disk(folder, text_bytes)
            built.mkdir()
            try:
                written = build_shards(self._batches(columns), built, settings, self.losses, self._on_written)
                manifest = DataManifest(
                    name=folder.name,
                    made_by=made_by,
                    validation=list(written.files)[-1],
                    origin=origin,
                    files=written.files,
                )
                put_in_place(built, folder, manifest)
            finally:
                sweep(built, folder)
        return dataclasses.replace(
            _result(folder, manifest, len(columns)),
            duplicates=written.duplicates,
            short=written.short,
            lost_rows=self.losses.rows,
            lost_files=self.losses.files,
            lost_parts=self.losses.parts,
            bad_characters=self.losses.bad_characters,
            places=tuple(self.losses.places),
            bad_places=tuple(self.losses.bad_places),
        )

    def _columns(self) -> dict[TextFile, str]:
        """The files that can be read, with their columns.

        A file that was named must have text; of those in folders, which may hold settings and tables too, only one.
        """
        columns = {}
        refused: list[UsageError] = []
        for file in self.files:
            try:
                columns[file] = look_into(file, self.how)
            except UsageError as error:
                if file.named:
                    raise
                refused.append(error)
        if refused and not columns:
            raise refused[0]
        for reason in refused:
            self.losses.file(f"{reason.message}; {reason.hint}")
        return columns

    def _batches(self, columns: dict[TextFile, str]) -> Iterator[TextBatch]:
        with translate_os_errors(self.folder):
            total = sum(file.path.stat().st_size for file in columns)
        done = 0

        def on_read(count: int) -> None:
            nonlocal done
            done += count
            event = StageProgress(stage="data", done=min(done, total), total=total, unit="bytes", detail=detail)
            self.on_event(event)

        for file, column in columns.items():
            detail = f"reading {file.path.name}"
            yield from read_file(file, column, self.how, self.losses, on_read)

    def _on_written(self, done: int, total: int) -> None:
        self.on_event(StageProgress(stage="data", done=done, total=total, unit="bytes", detail="writing shards"))


def _manifest(folder: Path) -> DataManifest | None:
    try:
        return read_manifest(folder)
    except DamagedError:
        return None


def _may_replace(folder: Path, manifest: DataManifest | None, replace: Replace | None) -> None:
    """Ask where another data set is in the way.

    Raises:
        UsageError: nobody can be asked, or it has no manifest, without which it cannot be replaced safely.
    """
    with translate_os_errors(folder):
        if manifest is None and not (folder.exists() and any(folder.iterdir())):
            return
        shards = sum(1 for _ in folder.glob("shard_*.parquet"))
    name = folder.name
    if manifest is None:
        raise UsageError(
            f"{folder} has files and no manifest that can be read",
            f"use another --name, or nanochat data verify {name} --adopt, or move the folder away",
        )
    if replace is None:
        raise UsageError(
            f"there is a data set {name!r} already, of other files or settings",
            "add --replace to put this one in its place, or use another --name",
        )
    replace(f"Replace the data set {name!r} ({shards} shard{'' if shards == 1 else 's'} in {folder})?")


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else imports into this folder meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise NanochatError(
            f"another process is importing into {folder.name!r}", "wait for it, or use another --name"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _what_matters(config: ImportConfig) -> dict[str, Any]:
    settings = dataclasses.asdict(config)
    del settings["name"]
    return settings


def _inputs(files: Sequence[TextFile]) -> dict[str, Any]:
    """What tells these files from others: where they are, how large, and when they were changed."""
    digest = hashlib.sha256()
    size = 0
    for file in files:
        with translate_os_errors(file.path):
            about = file.path.stat()
        size += about.st_size
        digest.update(json.dumps([str(file.path.absolute()), about.st_size, about.st_mtime_ns]).encode())
    return {"files": len(files), "bytes": size, "digest": digest.hexdigest()}


def _result(folder: Path, manifest: DataManifest, files: int, already: bool = False) -> ImportResult:
    entries = manifest.files.values()
    return ImportResult(
        name=folder.name,
        folder=folder,
        files=files,
        documents=sum(entry.documents or 0 for entry in entries),
        text_bytes=sum(entry.text_bytes or 0 for entry in entries),
        validation_documents=sum(entry.documents or 0 for entry in entries if entry.split == "val"),
        shards=len(manifest.files),
        already=already,
    )
