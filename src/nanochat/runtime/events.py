"""What happens during a run, as frozen dataclasses, and the consumer that keeps them.

A stage calls `on_event(event)`; the console, the log file and a test's list are all just consumers. Unknown events
are ignored by a consumer, so new ones can be added without touching the old readers.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from nanochat.runtime.files import translate_os_errors


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Base of all events."""


OnEvent = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageStarted(Event):
    """A stage begins or goes on. `resumed_from` is the step it goes on from, or None; where progress is counted in
    another unit, how much of it was done before.

    `schedule` says after how many steps each kind of work of `BetweenSteps` comes, 0 only after the last one.
    """

    stage: str
    tag: str
    total_steps: int
    run: str = ""
    tokens: int = 0
    resumed_from: int | None = None
    machine: Mapping[str, Any] = field(default_factory=dict)
    schedule: Mapping[str, int] = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class StageProgress(Event):
    """Progress of work that is not training: `done` of `total` in `unit`."""

    stage: str
    done: float
    total: float
    unit: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepDone(Event):
    """One optimizer step. `step` counts finished steps; `tokens` are those of this stage so far.

    `mfu` is the share of the device's peak that the model's own arithmetic takes, None where the peak is unknown.
    `memory_bytes` is the most that this process has held so far: on a GPU in tensors, elsewhere resident.
    """

    stage: str
    step: int
    total_steps: int
    loss: float
    lr_multiplier: float
    tokens_per_s: float
    tokens: int
    elapsed_s: float
    mfu: float | None = None
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutsDone(Event):
    """The answers that step `step` of reinforcement learning learns from, before it learns.

    Means over all answers: `reward`, `answer_tokens` that the model chose itself, `ended` by themselves. `telling` is
    the share of examples whose answers were paid differently: the others teach nothing.
    """

    stage: str
    step: int
    reward: float
    answer_tokens: float
    ended: float
    telling: float
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BetweenSteps(Event):
    """What was done after a step and took time: `work` is evaluation, checkpoint or samples."""

    stage: str
    step: int
    work: str
    seconds: float


VALIDATION = "val/"
"""Begins the names of scores that are told during training: of other problems than those of an evaluation."""
FIGURES = frozenset(
    {"val_bpb", "val_loss", "val_error", "val/score", "core", "reward_margin", "train_reward_margin", "chosen_loss"}
)
"""Names of what is evaluated and is no task's score: all else is one, from 0 to 1."""


def is_during_training(name: str) -> bool:
    """Whether what is evaluated under this name belongs to a step of the training rather than to its result."""
    return name.startswith(VALIDATION) or name in FIGURES


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated(Event):
    """One number about the model. `name` is a task, with `VALIDATION` in front of it during training, or one of
    `FIGURES`; the interval is 95%.
    """

    stage: str
    step: int
    name: str
    value: float
    n: int = 0
    low: float | None = None
    high: float | None = None
    chance: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointSaved(Event):
    """A checkpoint is complete on disk."""

    stage: str
    step: int
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampled(Event):
    """What the model says to a fixed prompt."""

    stage: str
    step: int
    prompt: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Notice(Event):
    """One line a person should see. `level` is info or warning."""

    stage: str
    level: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFinished(Event):
    """A stage is complete. `skipped` when it had been done before."""

    stage: str
    step: int
    elapsed_s: float
    skipped: bool = False
    summary: Mapping[str, Any] = field(default_factory=dict)


def warner(on_event: OnEvent, stage: str) -> Callable[[str], None]:
    """Takes lines that a person should see, and tells each as a warning."""
    return lambda line: on_event(Notice(stage=stage, level="warning", message=line))


def fan_out(*consumers: OnEvent) -> OnEvent:
    """One consumer that hands every event to all of them, in order."""

    def on_event(event: Event) -> None:
        for consumer in consumers:
            consumer(event)

    return on_event


def to_nobody(event: Event) -> None:
    """The consumer of all but the first of several processes."""


def record_of(event: Event, at: float | None = None) -> dict[str, Any]:
    """An event as an object of JSON: its name, its time and its fields.

    Args:
        event: any.
        at: Unix time in seconds, by default now.
    """
    fields = _strict(event)
    return {"event": type(event).__name__, "time": round(time.time() if at is None else at, 3), **fields}


class EventLog:
    """Appends events to a JSON-lines file, one flushed line each; readable while it grows.

    A line cut short by a crash is ended by a newline at the next opening, so every later line stays whole.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def __call__(self, event: Event) -> None:
        """Append one event.

        Raises:
            StorageError: the file cannot be written.
        """
        line = json.dumps(record_of(event), ensure_ascii=False) + "\n"
        with translate_os_errors(self.path):
            file = self._file or self._open()
            file.write(line)
            file.flush()

    def _open(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut_short = False
        if self.path.exists() and self.path.stat().st_size:
            with self.path.open("rb") as file:
                file.seek(-1, 2)
                cut_short = file.read(1) != b"\n"
        self._file = self.path.open("a", encoding="utf-8")
        if cut_short:
            self._file.write("\n")
        return self._file

    def close(self) -> None:
        """Close the file; a later event opens it again.

        Raises:
            StorageError: what was left to write cannot be written.
        """
        file, self._file = self._file, None
        if file:
            with translate_os_errors(self.path):
                file.close()


def _strict(value: Any) -> Any:
    """A value as JSON has it: objects, lists and plain values; null for NaN and infinities, which it has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _strict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


def read_events(path: Path) -> list[dict[str, Any]]:
    """All whole lines of an event log; a missing file is an empty log, a broken line is passed over."""
    return list(iterate_events(path))


def iterate_events(path: Path) -> Iterator[dict[str, Any]]:
    """The same, one at a time: a long run's log is large."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record
