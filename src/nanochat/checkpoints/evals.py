"""Results of evaluations, in the folder of the stage whose checkpoints they are of.

    {stage}/eval/pocket.json         of the latest step that was evaluated; each file says which
                 pocket@250.json     of an earlier one
                 chat-5shot.json     the same tasks asked in another way

What `nanochat eval chat` keeps has scores by task; the score of a model is the mean of their centred accuracies,
(accuracy - chance) / (1 - chance): 0 is guessing, 1 is perfect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanochat.checkpoints.layout import read_json, step_name
from nanochat.config.evaluate import PLAIN
from nanochat.runtime.files import atomic_write_json, translate_os_errors

FOLDER = "eval"


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanScore:
    """Mean centred accuracy over all tasks that were asked at one step; None for a step that is not known."""

    value: float
    step: int | None


def read_evals(stage_dir: Path) -> dict[str, dict[str, Any]]:
    """The evaluations of a stage by file name without suffix; files that are no JSON object do not count.

    Raises:
        StorageError: a file cannot be read.
    """
    folder = stage_dir / FOLDER
    with translate_os_errors(folder):
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return {path.stem: value for path in files if (value := read_json(path)) is not None}


def read_eval(folder: Path, name: str, step: int) -> dict[str, Any]:
    """What was found at a step; empty where nothing was.

    Args:
        folder: `eval` of a stage, or what stands for it.
        name: of the file, without suffix and step.
        step: of the checkpoint.

    Raises:
        StorageError: a file cannot be read.
    """
    found = (read_json(path) or {} for path in (folder / f"{name}.json", _aside(folder, name, step)))
    return next((value for value in found if value.get("step") == step), {})


def keep_eval(folder: Path, name: str, value: Mapping[str, Any]) -> None:
    """Write what was found at `value["step"]`; what is there of other steps stays, the latest under the plain name.

    Raises:
        StorageError: the folder cannot be written.
    """
    step: int = value["step"]
    path, aside = folder / f"{name}.json", _aside(folder, name, step)
    before = read_json(path) or {}
    there = before.get("step")
    if isinstance(there, int) and there != step:
        # a later one whose checkpoint is gone is of a training that was begun anew
        if there > step and (folder.parent / step_name(there)).is_dir():
            atomic_write_json(aside, value)
            return
        atomic_write_json(_aside(folder, name, there), before)
    # in this order an end half-way leaves a result twice at most, and the plain name is never missing
    atomic_write_json(path, value)
    with translate_os_errors(folder):
        aside.unlink(missing_ok=True)


def part_file(folder: Path, name: str, step: int) -> Path:
    """Where results wait that are to take the place of others when they are whole; no evaluation of `read_evals`."""
    return folder / f"{name}@{step}.part"


def plain_evals(evals: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Those of the test problems as they stand, of the latest step that was scored: what the score is made of."""
    plain = {name: evals[name] for name in PLAIN if name in evals and isinstance(evals[name].get("tasks"), Mapping)}
    latest = max((step for evaluation in plain.values() if (step := _step(evaluation)) is not None), default=None)
    return {name: evaluation for name, evaluation in plain.items() if _step(evaluation) == latest}


def mean_score(evals: Mapping[str, Mapping[str, Any]]) -> MeanScore | None:
    """Mean centred accuracy over all tasks of the plain evaluations; None when there are none."""
    plain = plain_evals(evals)
    scores = [score for evaluation in plain.values() for score in _centred(evaluation["tasks"])]
    if not scores:
        return None
    return MeanScore(value=sum(scores) / len(scores), step=next(map(_step, plain.values())))


def number(value: Any) -> float | None:
    """A JSON number as a float; None for anything else, NaN and infinities included."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _centred(tasks: Mapping[str, Any]) -> Iterator[float]:
    for task in tasks.values():
        if not isinstance(task, Mapping):
            continue
        accuracy = number(task.get("accuracy"))
        chance = number(task.get("chance")) or 0.0
        if accuracy is not None and chance < 1:
            yield (accuracy - chance) / (1 - chance)


def _step(evaluation: Mapping[str, Any]) -> int | None:
    step = number(evaluation.get("step"))
    return None if step is None else int(step)


def _aside(folder: Path, name: str, step: int) -> Path:
    return folder / f"{name}@{step}.json"
