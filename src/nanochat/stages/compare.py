"""Kept results of two models, looked up for a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.selector import candidates
from nanochat.errors import MissingError, UsageError
from nanochat.evaluation.core.difference import CoreDifference, compare
from nanochat.evaluation.core.result import CoreResult, read_result
from nanochat.runtime.paths import Paths
from nanochat.stages.base_subjects import foreign_folder

HF = "hf:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What `nanochat eval base` has kept of a model; None for what it has not measured."""

    name: str
    folder: Path
    core: CoreResult | None
    train_bpb: float | None
    val_bpb: float | None
    data: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two models; `core` is None where one of them has no result of it."""

    first: Kept
    second: Kept
    core: CoreDifference | None


def compare_models(paths: Paths, first: str, second: str) -> Comparison:
    """Compare what two models scored, the second against the first.

    Args:
        paths: where models are.
        first: a selector, or `hf:` and the name given to `nanochat eval base --hf`.
        second: likewise.

    Raises:
        MissingError: no such model, or nothing was measured.
        UsageError: the two have nothing in common, or a step was named that is not the one measured.
    """
    one, other = find_kept(paths, first), find_kept(paths, second)
    core = compare(one.core, other.core) if one.core and other.core else None
    if core is None and (one.val_bpb is None or other.val_bpb is None):
        unmeasured = next(kept for kept in (one, other) if kept.core is None)
        raise MissingError(
            f"{one.name} and {other.name} have no score in common", f"nanochat eval base {_words(unmeasured.name)}"
        )
    return Comparison(first=one, second=other, core=core)


def find_kept(paths: Paths, name: str) -> Kept:
    """The results of one model.

    Raises:
        MissingError: no such model, or nothing was measured.
        UsageError: they are of another step.
    """
    if name.startswith(HF):
        folder, wanted = foreign_folder(paths.base, name.removeprefix(HF)), None
    else:
        step_dir = candidates(paths, name)[0]
        folder, wanted = step_dir.parent / "eval", int(step_dir.name.rpartition("_")[2])
        name = f"{step_dir.parent.parent.name}:{step_dir.parent.name}"
    core, bpb = (read_json(folder / f"{part}.json") or {} for part in ("core", "bpb"))
    steps = {step for part in (core, bpb) if isinstance(step := part.get("step"), int)}
    if not steps:
        raise MissingError(f"{name} has not been measured", f"nanochat eval base {_words(name)}")
    if wanted is not None and wanted in steps:  # what is of another step stays out
        core, bpb = (part if part.get("step") == wanted else {} for part in (core, bpb))
    elif wanted is not None:
        raise UsageError(
            f"the results of {name} are of step {', '.join(map(str, sorted(steps)))}, not {wanted}",
            f"nanochat eval base {name}@{wanted}",
        )
    return Kept(
        name=name if wanted is None else f"{name}@{wanted}",
        folder=folder,
        core=read_result(core.get("core")),
        train_bpb=_number(bpb.get("train_bpb")),
        val_bpb=_number(bpb.get("val_bpb")),
        data=str(bpb.get("data", "")),
    )


def _words(name: str) -> str:
    return f"--hf {name.removeprefix(HF)}" if name.startswith(HF) else name


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
