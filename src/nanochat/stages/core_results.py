"""CORE as it is told, and as it is kept: item by item, with what the bundle was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nanochat.checkpoints.evals import keep_eval
from nanochat.evaluation.core.bundle import Bundle
from nanochat.evaluation.core.result import CoreResult
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Evaluated
from nanochat.stages.core_bundle import download_record

CORE_EVENT = "core"


def core_event(core: CoreResult, stage: str, step: int) -> Evaluated:
    """CORE as it is told and logged."""
    low, high = core.interval
    count = sum(task.n for task in core.tasks)
    return Evaluated(stage=stage, step=step, name=CORE_EVENT, value=core.value, n=count, low=low, high=high, chance=0.0)


def keep_core(
    folder: Path,
    core: CoreResult,
    bundle: Bundle,
    step: int,
    max_per_task: int,
    elapsed_s: float,
    context: RunContext,
) -> None:
    """Write `core.json`, item by item, with what the bundle was."""
    keep(
        folder,
        "core",
        {
            "step": step,
            "max_per_task": max_per_task,
            "elapsed_s": round(elapsed_s, 2),
            "bundle": {"sha256": bundle.sha256, "download": download_record(bundle.folder)},
            "core": core.to_dict(),
            "published": {model: dict(scores) for model, scores in bundle.published.items()},
        },
        context,
    )


def keep(folder: Path, name: str, value: dict[str, Any], context: RunContext) -> None:
    """Write results of a step; the first process does."""
    context.processes.first_does(lambda: keep_eval(folder, name, value))
