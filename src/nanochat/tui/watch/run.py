"""What is known of one stage of one model: a consumer of its events, and of the small files beside them.

Reading and taking in are two halves: `read` may wait for a slow disk or network and touches nothing that a picture
is made of; `take` is quick. So they can run on two threads without a lock.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nanochat.checkpoints.evals import mean_score, number, read_evals
from nanochat.checkpoints.layout import read_finished, read_json
from nanochat.console.tracker import StageTracker
from nanochat.runtime.events import (
    BetweenSteps,
    Evaluated,
    Event,
    Notice,
    RolloutsDone,
    Sampled,
    StageFinished,
    StageStarted,
    StepDone,
)
from nanochat.tui.watch.reading import Tail, Watched
from nanochat.tui.watch.records import decode
from nanochat.tui.watch.series import Axis, Place, Point, Series, smooth

OTHER_METRICS = ("val_loss", "val_error")
"""What preferences and reinforcement learning are validated by, in place of bits per byte."""

METRICS = ("loss", "lr", "tokens_per_s", "mfu", "memory")
NOTICES_KEPT = 500
SAMPLES_KEPT = 2000
SILENT_S = 60.0  # waits that were longer count double
FIRST_STEP_S = 600.0  # compiling a large model
State = Literal["to come", "running", "silent", "finished"]
EVENTS = "events.jsonl"


class Said(NamedTuple):
    """A notice, and when it was given."""

    time: float | None
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """What one reading found."""

    events: list[tuple[float | None, Event]]
    anew: bool
    left: int
    total: int
    changed: bool


@dataclass(slots=True)
class _Files:
    """The small files of a stage."""

    finished: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    evals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class StageLog:
    """One stage of one model, followed through its files.

    Args:
        folder: `{base}/models/{tag}/{stage}`; it need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = folder.parent.name
        self.stage = folder.name
        self.left = 0  # bytes of the log that were not read yet
        self.total = 0
        self._events = Tail(folder / EVENTS)
        self._samples = Tail(folder / "samples.jsonl")
        self._files = Watched(
            self._load,
            _Files(),
            *(folder / name for name in ("finished.json", "config.json", "eval")),
        )
        self._forget()

    def curve(self, metric: str, axis: Axis, smoothing: float = 0.0) -> list[Point]:
        """The line of one value, worked out once as long as nothing is new.

        Args:
            metric: one of `METRICS`, or val_bpb.
            axis: what x is.
            smoothing: share of the steps so far to average over; 0 for none.
        """
        key = (metric, axis, smoothing)
        if key not in self._curves:
            series = self.validations if metric in self.validations.names else self.steps
            self._curves[key] = smooth(series.points(metric, axis), smoothing * self.step)
        return self._curves[key]

    def _forget(self) -> None:
        self._curves: dict[tuple[str, Axis, float], list[Point]] = {}
        self.steps = Series(METRICS)
        self.validations = Series(("val_bpb",))
        self._other: Evaluated | None = None  # newest validation by another metric
        self.samples: dict[tuple[int, str], Sampled] = {}
        self.notices: deque[Said] = deque(maxlen=NOTICES_KEPT)
        self.started: StageStarted | None = None
        self.last: StepDone | None = None
        self.rollouts: RolloutsDone | None = None
        self.ended: StageFinished | None = None
        self.first_time: float | None = None
        self.last_time: float | None = None
        self.longest_wait_s = 0.0
        self.tracker: StageTracker | None = None

    def _load(self) -> _Files:
        return _Files(
            finished=read_finished(self.folder),
            config=read_json(self.folder / "config.json") or {},
            evals=read_evals(self.folder),
        )

    def read(self) -> Gathered:
        """What is new in the files, a block of each log at most; may run on another thread than `take`.

        Raises:
            OSError: a log is there but cannot be read.
        """
        changed = self._files.read()
        news = self._events.read()
        samples = self._samples.read()
        return Gathered(
            events=decode(news.lines) + decode(samples.lines, "Sampled"),
            anew=news.anew,
            left=news.left + samples.left,
            total=news.total,
            changed=changed or news.anew or bool(news.lines or samples.lines),
        )

    def take(self, gathered: Gathered) -> None:
        """Take in what `read` found."""
        if gathered.anew:
            self._forget()
            self._samples = Tail(self._samples.path)
        if gathered.anew or gathered.events:
            self._curves = {}
        self.left, self.total = gathered.left, gathered.total
        for time, event in gathered.events:
            self._on(time, event)

    def catch_up(self) -> None:
        """Read to the end of the files.

        Raises:
            OSError: a log is there but cannot be read.
        """
        self.take(self.read())
        while self.left:
            self.take(self.read())

    def _on(self, time: float | None, event: Event) -> None:
        if time is not None:
            if self.last_time is not None and not isinstance(event, StageStarted | Evaluated):
                self.longest_wait_s = max(self.longest_wait_s, time - self.last_time)
            self.first_time = self.first_time or time
            self.last_time = time
        now = self.last_time or 0.0
        if isinstance(event, StepDone):
            self._on_step(event, now)
        elif isinstance(event, RolloutsDone):
            self.rollouts = event
        elif isinstance(event, StageStarted):
            self._on_start(event, now)
        elif isinstance(event, Evaluated):
            if event.name == "val_bpb":
                self.validations.add(self._place(event.step), (event.value,))
            elif event.name in OTHER_METRICS:
                self._other = event
        elif isinstance(event, Sampled):
            self.samples[event.step, event.prompt] = event
            while len(self.samples) > SAMPLES_KEPT:
                del self.samples[next(iter(self.samples))]
        elif isinstance(event, Notice):
            self.notices.append(Said(time, event.level, event.message))
        elif isinstance(event, BetweenSteps) and self.tracker:
            self.tracker.on_side_work(event)
        elif isinstance(event, StageFinished):
            self.ended = event

    def _on_start(self, event: StageStarted, now: float) -> None:
        """A run begins, or goes on from a checkpoint: the steps after that are done again."""
        if event.resumed_from is None:
            time = self.last_time
            self._forget()
            self.first_time = self.last_time = time
        else:
            self.steps.cut(event.resumed_from)
            self.validations.cut(event.resumed_from)
            if self._other and self._other.step > event.resumed_from:
                self._other = None
            for key in [key for key in self.samples if key[0] > event.resumed_from]:
                del self.samples[key]
        self.started, self.ended = event, None
        self.tracker = StageTracker.start(event, now)

    def _on_step(self, event: StepDone, now: float) -> None:
        if self.tracker is None:
            self.tracker = StageTracker(self.stage, now, training=True)
        self.tracker.on_step(event, now)
        self.last = event
        self.steps.add(
            Place(event.step, event.tokens, event.elapsed_s),
            (
                # the loss of a policy says nothing; what its answers are paid does
                event.loss if self.rollouts is None else self.rollouts.reward,
                event.lr_multiplier,
                event.tokens_per_s,
                math.nan if event.mfu is None else event.mfu,
                event.memory_bytes or math.nan,
            ),
        )

    def _place(self, step: int) -> Place:
        """Where a validation stands: it follows its step."""
        if self.last and self.last.step == step:
            return Place(step, self.last.tokens, self.last.elapsed_s)
        near = self.steps.place_at("step", step)
        return near._replace(step=step) if near else Place(step)

    @property
    def finished(self) -> Mapping[str, Any] | None:
        """The summary of a stage that is complete."""
        return self._files.value.finished

    @property
    def config(self) -> Mapping[str, Any]:
        """The record of what it is; empty as long as there is none."""
        return self._files.value.config

    @property
    def evals(self) -> Mapping[str, Mapping[str, Any]]:
        """The evaluations by the name of their file."""
        return self._files.value.evals

    @property
    def score(self) -> float | None:
        """Mean centred accuracy over all tasks."""
        found = mean_score(self.evals)
        return found.value if found else None

    @property
    def step(self) -> int:
        """The newest step; 0 before the first."""
        return self.last.step if self.last else int(number((self.finished or {}).get("step")) or 0)

    @property
    def total_steps(self) -> int:
        """Steps of the whole stage; 0 when unknown."""
        if self.last:
            return self.last.total_steps
        return self.started.total_steps if self.started else self.step

    @property
    def elapsed_s(self) -> float | None:
        """Seconds of training."""
        return self.last.elapsed_s if self.last else number((self.finished or {}).get("elapsed_s"))

    @property
    def val_bpb(self) -> float | None:
        """The newest validation."""
        newest = self.validations.newest("val_bpb")
        return number((self.finished or {}).get("val_bpb")) if newest is None else newest

    @property
    def other_validation(self) -> str:
        """The newest validation of a stage that has another metric than bits per byte, in words; "" for none."""
        if self._other:
            return f"{self._other.name} {self._other.value:.4f}"
        summary = self.finished or {}
        found = ((name, number(summary.get(name))) for name in OTHER_METRICS)
        return next((f"{name} {value:.4f}" for name, value in found if value is not None), "")

    @property
    def exists(self) -> bool:
        """Whether anything is known of it."""
        return self.last_time is not None or bool(self.config) or self.finished is not None

    def age_s(self, now: float) -> float | None:
        """Seconds since the last event, by the clock of who wrote it; None when there is none."""
        return None if self.last_time is None else max(0.0, now - self.last_time)

    def state(self, now: float) -> State:
        """Where it stands: finished, running, silent for longer than it ever was, or nothing yet."""
        age = self.age_s(now)
        if self.finished is not None or self.ended:
            return "finished"
        if age is None:
            return "running" if self.exists else "to come"
        begun = self.last is not None or not self.started
        return "running" if age <= max(SILENT_S if begun else FIRST_STEP_S, 2 * self.longest_wait_s) else "silent"

    def left_s(self, now: float) -> float | None:
        """Seconds to the end; None when unknown or of no meaning."""
        return self.tracker.left(now) if self.tracker and self.state(now) == "running" else None
