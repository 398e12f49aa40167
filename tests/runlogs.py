"""Made-up runs on disk, with the files that a stage writes: the same at every call."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

START = 1_700_000_000.0  # unix seconds of the first event
STEP_S = 0.5


def append(path: Path, *records: dict[str, Any]) -> None:
    """Add lines to a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def started(total: int, resumed_from: int | None = None, step: int = 0) -> dict[str, Any]:
    """The first event of a run, or of its going on."""
    return {
        "event": "StageStarted",
        "time": START + step * STEP_S,
        "stage": "base",
        "tag": "d4",
        "total_steps": total,
        "tokens": total * 1000,
        "resumed_from": resumed_from,
        "machine": {},
        "schedule": {"evaluation": 50, "checkpoint": 0, "samples": 100},
    }


def step(number: int, total: int, loss: float | None = None, **changes: Any) -> dict[str, Any]:
    """One step of a loss that falls from 6 to 2, with a wave in it."""
    made_up = 2 + 4 * math.exp(-number / 60) + 0.2 * math.sin(number * 1.7)
    return {
        "event": "StepDone",
        "time": START + number * STEP_S,
        "stage": "base",
        "step": number,
        "total_steps": total,
        "loss": made_up if loss is None else loss,
        "lr_multiplier": min(1.0, number / 40),
        "tokens_per_s": 2000 + 100 * math.sin(number),
        "tokens": number * 1000,
        "elapsed_s": number * STEP_S,
        "mfu": 0.31,
        "memory_bytes": 800_000_000 + 1000 * number,
        **changes,
    }


def validation(number: int, value: float) -> dict[str, Any]:
    """A validation after a step."""
    time = START + number * STEP_S + 0.1
    return {"event": "Evaluated", "time": time, "stage": "base", "step": number, "name": "val_bpb", "value": value}


def write_run(
    folder: Path, steps: int = 200, total: int = 240, shift: float = 0.0, finished: bool = False, samples: bool = True
) -> Path:
    """A stage folder with all its files; `shift` is added to every loss."""
    records = [started(total)]
    for number in range(1, steps + 1):
        record = step(number, total)
        records.append({**record, "loss": record["loss"] + shift})
        if number % 50 == 0:
            records.append(validation(number, 1 + math.exp(-number / 100) + shift))
    end = START + steps * STEP_S + 0.2
    records.append({"event": "Notice", "time": end, "stage": "base", "level": "warning", "message": "the disk is slow"})
    append(folder / "events.jsonl", *records)
    if samples:
        append(
            folder / "samples.jsonl",
            {"step": 100, "prompt": "The sky is", "answer": " grey."},
            {"step": 200, "prompt": "The sky is", "answer": " blue.\nSo is the sea."},
        )
    config = {"model": {"vocab_size": 512}, "data": {"name": "pocket", "documents": 1234}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if finished:
        summary = {"step": steps, "tokens": steps * 1000, "elapsed_s": steps * STEP_S, "val_bpb": 1.5}
        (folder / "finished.json").write_text(json.dumps(summary), encoding="utf-8")
    return folder


def write_scores(folder: Path) -> None:
    """An evaluation of a stage."""
    (folder / "eval").mkdir(parents=True, exist_ok=True)
    task = {"accuracy": 0.6, "n": 200, "low": 0.531, "high": 0.665, "chance": 0.2}
    (folder / "eval" / "pocket.json").write_text(json.dumps({"step": 200, "tasks": {"choice": task}}), encoding="utf-8")
