"""The names on disk: stages of a model, step folders of a stage, and the mark of a finished stage.

    {base}/models/d12/sft/            a stage folder
        finished.json                 written by the stage at its very end
        step_000650/                  a checkpoint: complete, because the name appears by one rename
        .step_000700.tmp-4711/        being written by process 4711, or left behind by its death
        .step_000650.old-4711/        a checkpoint stepping aside for a new one of the same step
        .step_000600.gone-4711/       pruned, being deleted

Covered: names only. What is inside a step folder is the business of `manifest` and `store`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from nanochat.runtime.files import atomic_write_json, translate_os_errors
from nanochat.runtime.paths import NAME, Paths

FINISHED = "finished.json"
BEST = "best.json"

_STEP = re.compile(r"step_(\d{6,})")
_HIDDEN = re.compile(r"\.(step_\d{6,})\.(tmp|old|gone)-(\d+)")


def step_name(step: int) -> str:
    """Folder name of a step: `step_000123`, so that names sort as numbers do."""
    return f"step_{step:06d}"


def hidden_name(step: int, kind: str) -> str:
    """Name of a step folder on its way in or out; `kind` is tmp, old or gone."""
    return f".{step_name(step)}.{kind}-{os.getpid()}"


def step_of(step_dir: Path) -> int:
    """The step in a folder name, hidden or not.

    Raises:
        ValueError: the name is not one of ours.
    """
    hidden = _HIDDEN.fullmatch(step_dir.name)
    match = _STEP.fullmatch(hidden[1] if hidden else step_dir.name)
    if not match:
        raise ValueError(f"{step_dir.name} is not the name of a step folder")
    return int(match[1])


def tags(paths: Paths) -> list[str]:
    """The models that exist, by name. A folder whose name could not be a tag is passed over.

    Raises:
        StorageError: the folder of models cannot be read.
    """
    with translate_os_errors(paths.models):
        if not paths.models.exists():
            return []
        return sorted(p.name for p in paths.models.iterdir() if NAME.fullmatch(p.name) and p.is_dir())


def step_dirs(stage_dir: Path) -> list[Path]:
    """The checkpoints of a stage, newest step first, none of them verified.

    A folder that had stepped aside for a replacement which never arrived counts as the checkpoint it was.

    Raises:
        StorageError: the folder cannot be read.
    """
    with translate_os_errors(stage_dir):
        if not stage_dir.exists():
            return []
        found: dict[int, Path] = {}
        for path in sorted(stage_dir.iterdir()):  # ".step" sorts before "step": the real name wins
            hidden = _HIDDEN.fullmatch(path.name)
            if (hidden and hidden[2] == "old") or _STEP.fullmatch(path.name):
                found[step_of(path)] = path
        return [found[step] for step in sorted(found, reverse=True)]


def remove_leftovers(stage_dir: Path) -> None:
    """Delete what dead processes left half done; put back a checkpoint whose replacement never arrived."""
    for path in list(stage_dir.iterdir()):
        hidden = _HIDDEN.fullmatch(path.name)
        if not hidden or _is_other_process(int(hidden[3])):
            continue
        if hidden[2] == "old" and not (stage_dir / hidden[1]).exists():
            path.rename(stage_dir / hidden[1])
        else:
            shutil.rmtree(path, ignore_errors=True)


def _is_other_process(pid: int) -> bool:
    """Whether another living process has this id. Our own id means a former life of it, as in a container."""
    return pid != os.getpid() and psutil.pid_exists(pid)


def mark_finished(stage_dir: Path, summary: Mapping[str, Any]) -> None:
    """Declare the stage done, atomically. The last thing a stage does.

    Args:
        stage_dir: folder of the stage.
        summary: JSON values; the report reads `step`, `elapsed_s`, `train_loss`, `val_bpb` and `tokens`.
    """
    atomic_write_json(stage_dir / FINISHED, dict(summary))


def mark_best(stage_dir: Path, step: int, value: float, metric: str = "val_bpb") -> None:
    """Say which checkpoint has the lowest validation: it was saved before that was known.

    Args:
        stage_dir: folder of the stage.
        step: of the checkpoint.
        value: of the validation.
        metric: what that is: bits per byte, or the name of another figure.
    """
    atomic_write_json(stage_dir / BEST, {"step": step, metric: value})


def read_best(stage_dir: Path) -> int | None:
    """The step given to `mark_best`; None when there is none."""
    step = (read_json(stage_dir / BEST) or {}).get("step")
    return step if isinstance(step, int) else None


def clear_finished(stage_dir: Path) -> None:
    """Take the declaration back, for a stage that is trained anew or further."""
    with translate_os_errors(stage_dir):
        (stage_dir / FINISHED).unlink(missing_ok=True)


def is_finished(stage_dir: Path) -> bool:
    """Whether the stage has declared itself done."""
    return read_finished(stage_dir) is not None


def read_finished(stage_dir: Path) -> dict[str, Any] | None:
    """The summary given to `mark_finished`; None when the stage is not done or the file is not ours."""
    return read_json(stage_dir / FINISHED)


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None when there is no such file or it holds something else.

    Raises:
        StorageError: the file exists but cannot be read.
    """
    with translate_os_errors(path):
        try:
            value = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None
    return value if isinstance(value, dict) else None
