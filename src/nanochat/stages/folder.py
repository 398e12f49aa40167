"""The folder of one stage of one model: owned by one run, never mixed with another, resumed from.

Of several processes that train together the first one looks, locks and writes; the others do what it found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import BaseFileLock, FileLock, Timeout

from nanochat.checkpoints.layout import (
    clear_finished,
    is_finished,
    read_finished,
    read_json,
    remove_leftovers,
    step_dirs,
    step_of,
)
from nanochat.checkpoints.store import Checkpoint, latest_valid, load_checkpoint
from nanochat.config.train import TrainConfig
from nanochat.errors import DivergedError, MissingError, StorageError, UsageError
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import EventLog, Notice, OnEvent, StageFinished, fan_out, to_nobody
from nanochat.runtime.files import sha256_file, translate_os_errors

# what may differ between two runs of the same model: where and how often, not what
FREE_SETTINGS = frozenset(
    {
        "device",
        "dtype",
        "compile",
        "damage_limit",
        "threads",
        "require_attn",
        "fp8",
        "activation_checkpointing",
        "device_batch_size",
        "eval_every",
        "eval_tokens",
        "eval_tasks",
        "eval_problems",
        "eval_new_tokens",
        "eval_samples",
        "save_every",
        "sample_every",
        "core_every",
        "core_max_per_task",
        "core_bundle",
        "keep",
        "resume",
        "run",
        "task_data",
        "unsafe_exec",
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StageResult:
    """What a training stage leaves: its folder and its `finished.json`."""

    folder: Path
    summary: Mapping[str, Any]
    skipped: bool = False


def hash_of(path: Path, missing: str, hint: str) -> str:
    """SHA-256 of a file that a run learns from; "" of a folder, which whoever reads it refuses.

    Args:
        path: of the file.
        missing: what the error says when it is not there.
        hint: as well.

    Raises:
        MissingError: it is not there.
        StorageError: it cannot be read.
    """
    with translate_os_errors(path):
        if not path.exists():
            raise MissingError(missing, hint)
        return sha256_file(path) if path.is_file() else ""


class StageFolder:
    """One stage of one model on disk.

    Args:
        context: machine and folders.
        stage: base, mid, sft or rl.
        config: the stage's dials.
        on_event: told everything, besides the stage's own log.
    """

    def __init__(self, context: RunContext, stage: str, config: TrainConfig, on_event: OnEvent) -> None:
        self.context = context
        self.stage = stage
        self.config = config
        self.folder = context.paths.model_dir(config.tag, stage)
        self._log = EventLog(self.folder / "events.jsonl")
        self._outside = on_event if context.processes.first else to_nobody
        self.on_event = fan_out(self._log, on_event) if context.processes.first else to_nobody

    def notice(self, message: str, level: str = "warning") -> None:
        """Tell one line."""
        self.on_event(Notice(stage=self.stage, level=level, message=message))

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Keep other processes out of the stage's folder meanwhile.

        Raises:
            UsageError: another process is training this stage now.
        """
        lock = FileLock(self.folder / ".lock")
        self.context.processes.first_does(lambda: self._acquire(lock))
        try:
            yield
        finally:
            lock.release()
            self._log.close()
            if self.context.compile:
                # torch compiles a function for 8 shapes of model, then runs it uncompiled; a sweep may have more
                torch.compiler.reset()

    def _acquire(self, lock: BaseFileLock) -> None:
        with translate_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise UsageError(
                    f"another process is training {self.config.tag}:{self.stage}",
                    "wait for it, stop it, or choose another --tag",
                ) from None

    def finished(self, hashes: Mapping[str, str] | None = None) -> StageResult | None:
        """The result when this very run was completed before.

        Args:
            hashes: SHA-256 by name of the files it trains on.

        Raises:
            UsageError: a run with other settings, or with other content of these files, lives in the folder, or any
                where none may.
        """
        return self.context.processes.first_does(lambda: self._finished(hashes or {}))

    def _finished(self, hashes: Mapping[str, str]) -> StageResult | None:
        if self.config.resume == "never" and (step_dirs(self.folder) or is_finished(self.folder)):
            raise UsageError(
                f"{self.config.tag}:{self.stage} has been begun before (--resume never)",
                f"choose another --tag, go on with it by leaving out --resume never, or delete {self.folder}",
            )
        self._refuse_other_settings()
        self._refuse_changed_files(hashes)
        summary = read_finished(self.folder)
        if summary is None:
            return None
        newest = latest_valid(self.folder)
        if newest is None or step_of(newest) < int(summary.get("step", 0)):
            clear_finished(self.folder)  # the last checkpoint is damaged: `resume` says so and goes on before it
            return None
        self._outside(
            StageFinished(
                stage=self.stage,
                step=int(summary.get("step", 0)),
                elapsed_s=0.0,
                skipped=True,
                summary=summary,
            )
        )
        return StageResult(folder=self.folder, summary=summary, skipped=True)

    def resume(self) -> Checkpoint | None:
        """The newest whole checkpoint of this stage, with its optimizer; None to begin.

        What a killed save has left is removed here: after the last save no other would do it.

        Raises:
            MissingError: there is none where one is required.
        """
        newest = self.context.processes.first_does(self._newest)
        return load_checkpoint(newest, with_optimizer=True) if newest else None

    def _newest(self) -> Path | None:
        with translate_os_errors(self.folder):
            remove_leftovers(self.folder)
        newest = latest_valid(self.folder, self.notice)
        if newest is None and self.config.resume == "require":
            raise MissingError(
                f"{self.config.tag}:{self.stage} has no whole checkpoint to go on from (--resume require)",
                "leave out --resume require to begin anew, or check --tag and --base-dir",
            )
        return newest

    def settings(self) -> dict[str, Any]:
        """The dials, as they are recorded."""
        return dataclasses.asdict(self.config)

    def _refuse_other_settings(self) -> None:
        config = read_json(self.folder / "config.json") or {}
        if "imported" in config:
            raise UsageError(
                f"{self.config.tag}:{self.stage} was imported, not trained here",
                f"choose another --tag, and --from {self.config.tag}:{self.stage} to go on with it",
            )
        before = config.get("train")
        if not isinstance(before, dict):
            return
        for name, value in self.settings().items():
            if name not in FREE_SETTINGS and name in before and before[name] != value:
                raise UsageError(
                    f"{self.config.tag}:{self.stage} was begun with {name} {before[name]!r}, not {value!r}",
                    f"choose another --tag, or give it the same settings (or delete {self.folder})",
                )

    def _refuse_changed_files(self, hashes: Mapping[str, str]) -> None:
        before = (read_json(self.folder / "config.json") or {}).get("data", {})
        for name, sha256 in hashes.items():
            record = before.get("files", {}).get(name)
            if record and record.get("sha256") != sha256:
                raise UsageError(
                    f"{name} has changed since {self.config.tag}:{self.stage} was begun with it",
                    f"choose another --tag, or bring back the file as it was (or delete {self.folder})",
                )

    @contextmanager
    def naming_last_good(self) -> Iterator[None]:
        """Adds to the error of a run that diverged, or could not save, where the weights from before are."""
        try:
            yield
        except DivergedError as error:
            good = latest_valid(self.folder)
            kept = "no checkpoint had been saved yet"
            if good is not None:
                kept = f"the last good checkpoint is {self.config.tag}:{self.stage}@{step_of(good)} in {good}"
            raise DivergedError(error.message, f"{kept}; {error.hint}") from None
        except StorageError as error:
            kept = self._last_whole()
            raise StorageError(error.message, f"{error.hint}; {kept}" if kept else error.hint) from error

    def _last_whole(self) -> str:
        """Where the same command would go on, in words; "" when the disk does not even say that."""
        try:
            good = latest_valid(self.folder)
        except StorageError:
            return ""
        return f"the same command goes on from step {step_of(good)}" if good else "nothing had been saved yet"
