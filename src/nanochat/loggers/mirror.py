"""What a logger makes of events: one run for each training stage, and every figure in it once.

A run's id and the last step of each of its series are kept in the stage's folder (`loggers/wandb.json`), so a stage
that goes on continues its run there: steps done again, with the same results, are not told again, and those that a
logger has missed come from the stage's own `events.jsonl`. A stage that begins anew is a new run.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nanochat.runtime.events import iterate_events

STEP_FIGURES = {
    "loss": "train/loss",
    "lr_multiplier": "train/lr_multiplier",
    "tokens": "train/tokens",
    "tokens_per_s": "speed/tokens_per_s",
    "mfu": "speed/mfu",
    "memory_bytes": "speed/memory_bytes",
}
ROLLOUT_FIGURES = {
    "reward": "train/reward",
    "answer_tokens": "train/answer_tokens",
    "ended": "train/ended",
    "telling": "train/telling",
}
Plain = str | int | float | bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RunIdentity:
    """What a tracker calls a run.

    Attributes:
        id: of this run alone, on every machine.
        name: `d12:base`, or the name that the run was given in place of the tag.
        group: the tag: all stages of one model.
        stage: base, mid or sft.
        known: whether the tracker has seen it before.
    """

    id: str
    name: str
    group: str
    stage: str
    known: bool


class Tracker(Protocol):
    """Where figures go. One run at a time is open."""

    def open(self, run: RunIdentity, config: Mapping[str, Plain]) -> str:
        """Begin a run or go on with it; what a person should know of that, such as where to look."""

    def figures(self, step: int, at: float, values: Mapping[str, float]) -> None:
        """Numbers of one step; `at` is Unix time."""

    def samples(self, step: int, at: float, rows: list[tuple[str, str]]) -> None:
        """What the model answers to some prompts at one step."""

    def close(self, finished: bool) -> None:
        """Leave the run; `finished` unless its stage may go on."""


@dataclass(slots=True)
class _OpenRun:
    """The run that is open: where its state is kept, and the newest step of each of its series."""

    stage: str
    path: Path
    id: str
    last: dict[str, int]
    finished: bool = False

    def is_new(self, series: str, step: int) -> bool:
        """Whether this step is still to be told; it then counts as told: better one too few than one twice."""
        if step <= self.last.get(series, -1):
            return False
        self.last[series] = step
        return True

    def keep(self) -> None:
        """Write the state down, whole or not at all; not durably, as every step does it."""
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"id": self.id, "last": self.last}), encoding="utf-8")
        temporary.replace(self.path)


@dataclass(slots=True)
class Mirror:
    """Takes records of events, in order.

    Args:
        name: of the logger.
        tracker: where figures go.
        models: folder of all models.
        tell: says a line to the person who trains.
    """

    name: str
    tracker: Tracker
    models: Path
    tell: Callable[[str], None]
    _tag: str = ""
    _run: _OpenRun | None = None
    _samples: list[tuple[str, str]] = field(default_factory=list)
    _samples_at: tuple[int, float] = (0, 0.0)
    _told: set[str] = field(default_factory=set)

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Take in one event."""
        kind, stage = record.get("event"), str(record.get("stage", ""))
        if kind != "Sampled":
            self._flush_samples()
        if kind == "StageStarted":
            self._tag = record["tag"]
            if record["tokens"]:
                self._open(stage, record)
        elif kind in ("StepDone", "RolloutsDone", "Sampled") and self._run and self._run.stage == stage:
            self._take(record)
        elif kind == "Evaluated" and self._tag:
            if self._run is None or self._run.stage != stage:  # scores come when all stages are done
                self._open(stage, None)
            self._take(record)
        elif kind == "StageFinished" and self._run and self._run.stage == stage:
            self._run.finished = True

    def close(self) -> None:
        """The run has ended, or the process that ran it."""
        self._flush_samples()
        if self._run:
            self._run.keep()
            self.tracker.close(self._run.finished)
            self._run = None

    def _open(self, stage: str, started: Mapping[str, Any] | None) -> None:
        """Open a stage's run, new unless the stage goes on or was trained before."""
        self.close()
        folder = self.models / self._tag / stage
        path = folder / "loggers" / f"{self.name}.json"
        goes_on = started is None or started["resumed_from"] is not None
        state = _read(path) if goes_on else {}
        known = "id" in state
        new_id = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{secrets.token_hex(3)}"
        run = _OpenRun(stage=stage, path=path, id=state.get("id", new_id), last=state.get("last", {}))
        run.finished = started is None
        run.path.parent.mkdir(parents=True, exist_ok=True)
        config = _read(folder / "config.json")
        named = (started or config).get("run") or self._tag
        identity = RunIdentity(id=run.id, name=f"{named}:{stage}", group=self._tag, stage=stage, known=known)
        said = self.tracker.open(identity, flatten(config))
        if said and said not in self._told:
            self._told.add(said)
            self.tell(said)
        self._run = run
        if goes_on:
            self._catch_up(folder / "events.jsonl", math.inf if started is None else started["resumed_from"])
        run.keep()

    def _catch_up(self, log: Path, until: float) -> None:
        """Take from the stage's log what the logger has missed, up to the step that the stage goes on from."""
        for record in iterate_events(log):
            known = ("StepDone", "RolloutsDone", "Evaluated", "Sampled")
            if record.get("event") in known and record.get("step", math.inf) <= until:
                if record["event"] != "Sampled":
                    self._flush_samples()
                self._take(record)
        self._flush_samples()

    def _take(self, record: Mapping[str, Any]) -> None:
        run, step, at = self._run, int(record["step"]), float(record["time"])
        assert run is not None
        if record["event"] == "Sampled":
            if self._samples and self._samples_at[0] != step:
                self._flush_samples()
            self._samples.append((record["prompt"], record["answer"]))
            self._samples_at = (step, at)
        elif record["event"] == "StepDone":
            self._figures("step", STEP_FIGURES, record)
        elif record["event"] == "RolloutsDone":
            self._figures("rollouts", ROLLOUT_FIGURES, record)
        elif record.get("value") is not None and run.is_new(record["name"], step):
            run.keep()
            name = "val/bpb" if record["name"] == "val_bpb" else f"score/{record['name']}"
            self.tracker.figures(step, at, {name: float(record["value"])})

    def _figures(self, series: str, names: Mapping[str, str], record: Mapping[str, Any]) -> None:
        """Some fields of a record that every step has."""
        assert self._run is not None
        values = {name: record.get(field) for field, name in names.items()}
        if self._run.is_new(series, int(record["step"])):
            self._run.keep()
            known = {name: float(value) for name, value in values.items() if value is not None}
            self.tracker.figures(int(record["step"]), float(record["time"]), known)

    def _flush_samples(self) -> None:
        """Samples of one step belong together."""
        rows, self._samples = self._samples, []
        step, at = self._samples_at
        if rows and self._run and self._run.is_new("samples", step):
            self._run.keep()
            self.tracker.samples(step, at, rows)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Plain]:
    """Nested values by dotted names; lists as text, and without what is None."""
    flat: dict[str, Plain] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, str | int | float | bool):
            flat[f"{prefix}{key}"] = value
        elif value is not None:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat


def as_markdown(rows: Sequence[tuple[str, str]]) -> str:
    """Prompts and answers as blocks of code: nothing that a model says can become markup or an image."""
    lines = [
        line for prompt, answer in rows for line in (*f"> {prompt}".splitlines(), *(answer.splitlines() or [""]), "")
    ]
    return "\n".join(f"    {line}" for line in lines)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
