"""What has been trained, read from the folders without torch and without reading any weights.

Tensor shapes come from the first bytes of a safetensors file: eight bytes of length, then JSON. What a score is, see
`evals`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.checkpoints.evals import mean_score, number, read_evals
from nanochat.checkpoints.layout import read_finished, read_json, step_dirs, step_of, tags
from nanochat.checkpoints.manifest import MANIFEST, check_all, read_manifest
from nanochat.checkpoints.selector import best_step, describe_place
from nanochat.checkpoints.store import CONFIG, MODEL
from nanochat.config.stages import STAGES
from nanochat.errors import DamagedError
from nanochat.runtime.events import read_events
from nanochat.runtime.files import translate_os_errors
from nanochat.runtime.paths import Paths

GROUPS = ("wte", "value_embeds", "lm_head", "matrices", "scalars")
_MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format


@dataclass(frozen=True, kw_only=True, slots=True)
class StageEntry:
    """One stage of one model. None stands for what is not known (yet)."""

    tag: str
    stage: str
    step: int | None  # newest checkpoint; None when there is none yet
    finished: bool
    parameters: int | None
    val_bpb: float | None
    score: float | None  # mean centred accuracy
    score_step: int | None  # the checkpoint that has it
    size_bytes: int  # everything in the stage folder
    modified: float  # unix seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelDetails:
    """Everything the folders say about one checkpoint."""

    tag: str
    stage: str
    step: int
    steps: list[int]  # all checkpoints of the stage, newest first
    best: int | None  # the one whose validation was best
    path: Path
    finished: bool
    valid: bool
    model: dict[str, Any]  # ModelConfig
    parameters: dict[str, int]  # by group, with "total"
    losses: dict[str, float]
    evals: dict[str, dict[str, Any]]  # by file name
    score: float | None
    score_step: int | None  # the checkpoint that has it
    files: dict[str, dict[str, Any]]  # by name: size in bytes and state, "ok" or what is wrong


def list_stages(paths: Paths) -> list[StageEntry]:
    """Every stage of every model that has been started, by tag and in the order of training.

    Raises:
        StorageError: a folder cannot be read.
    """
    stage_dirs = [paths.models / tag / stage for tag in tags(paths) for stage in STAGES]
    return [_entry(stage_dir) for stage_dir in stage_dirs if stage_dir.is_dir()]


def selectors(paths: Paths, tag: str | None = None) -> tuple[str, ...]:
    """Every checkpoint there is, or those of one model, as `d12:sft@650`: in the order of training.

    Raises:
        StorageError: a folder cannot be read.
    """
    return tuple(
        describe_place(step_dir)
        for name in ([tag] if tag else tags(paths))
        for stage in STAGES
        for step_dir in reversed(step_dirs(paths.models / name / stage))
    )


def describe(step_dir: Path) -> ModelDetails:
    """All about one checkpoint, with every file of it compared with the manifest.

    Raises:
        DamagedError: the manifest itself is damaged or missing.
        StorageError: something cannot be read.
    """
    stage_dir = step_dir.parent
    manifest = read_manifest(step_dir)
    states = check_all(step_dir)
    evals = read_evals(stage_dir)
    score = mean_score(evals)
    return ModelDetails(
        tag=stage_dir.parent.name,
        stage=stage_dir.name,
        step=manifest.step,
        steps=[step_of(path) for path in step_dirs(stage_dir)],
        best=best_step(step_dirs(stage_dir)),
        path=step_dir,
        finished=read_finished(stage_dir) is not None,
        valid=all(state == "ok" for state in states.values()),
        model=read_json(step_dir / CONFIG) or {},
        parameters=parameter_groups(step_dir / MODEL) if states.get(MODEL) == "ok" else {},
        losses=_losses(stage_dir),
        evals=evals,
        score=score.value if score else None,
        score_step=score.step if score else None,
        files={name: {"size_bytes": entry.size, "state": states[name]} for name, entry in manifest.files.items()},
    )


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in a safetensors file, from its header alone.

    Raises:
        DamagedError: the header cannot be read.
        StorageError: the file cannot be read.
    """
    with translate_os_errors(path), path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= _MAX_HEADER_BYTES else b""
    try:
        entries = json.loads(header)
        return {name: tuple(entry["shape"]) for name, entry in entries.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise DamagedError(f"{path} is damaged (no safetensors header)", "use an older checkpoint") from None


def parameter_groups(path: Path) -> dict[str, int]:
    """Parameter counts by group of a weights file, and their total.

    wte, value_embeds and lm_head by name; of the rest, what has two dimensions inside the blocks are the
    matrices, and the few learned scalars and gates outside of them are scalars.
    """
    counts = dict.fromkeys(GROUPS, 0)
    for name, shape in read_shapes(path).items():
        counts[_group(name, shape)] += math.prod(shape)
    return {"total": sum(counts.values()), **{group: n for group, n in counts.items() if n}}


def _entry(stage_dir: Path) -> StageEntry:
    steps = step_dirs(stage_dir)
    evals = read_evals(stage_dir)
    finished = read_finished(stage_dir)
    score = mean_score(evals)
    with translate_os_errors(stage_dir):
        files = [path for path in stage_dir.rglob("*") if path.is_file()]
        dated = steps[0] / MANIFEST if steps and (steps[0] / MANIFEST).exists() else stage_dir
        return StageEntry(
            tag=stage_dir.parent.name,
            stage=stage_dir.name,
            step=step_of(steps[0]) if steps else None,
            finished=finished is not None,
            parameters=_total(steps[0] / MODEL) if steps else None,
            val_bpb=_val_bpb(evals.get("bpb", {}), finished or {}),
            score=score.value if score else None,
            score_step=score.step if score else None,
            size_bytes=sum(_size(path) for path in files),
            modified=dated.stat().st_mtime,
        )


def _val_bpb(measured: Mapping[str, Any], finished: Mapping[str, Any]) -> float | None:
    """Of the validation text: as `nanochat eval base` has measured it, unless the training ended at another step."""
    end = number(finished.get("val_bpb"))
    value = number(measured.get("val_bpb"))
    return end if value is None or (end is not None and measured.get("step") != finished.get("step")) else value


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # pruned by a running stage since we listed the folder
        return 0


def _total(path: Path) -> int | None:
    try:
        return parameter_groups(path)["total"] if path.exists() else None
    except DamagedError:
        return None


def _group(name: str, shape: tuple[int, ...]) -> str:
    name = name.removeprefix("_orig_mod.")
    for group, prefix in (
        ("wte", "transformer.wte."),
        ("value_embeds", "value_embeds."),
        ("lm_head", "lm_head."),
    ):
        if name.startswith(prefix):
            return group
    return "matrices" if name.startswith("transformer.h.") and len(shape) == 2 else "scalars"


def _losses(stage_dir: Path) -> dict[str, float]:
    """First and last training loss and the last val_bpb, as far as the event log has them."""
    events = read_events(stage_dir / "events.jsonl")
    train = _values(events, "StepDone", "loss")
    bpb = _values([event for event in events if event.get("name") == "val_bpb"], "Evaluated", "value")
    losses = {"train_first": train[0], "train_last": train[-1]} if train else {}
    return {**losses, "val_bpb": bpb[-1]} if bpb else losses


def _values(events: Sequence[Mapping[str, Any]], kind: str, field: str) -> list[float]:
    found = [number(event.get(field)) for event in events if event.get("event") == kind]
    return [value for value in found if value is not None]
