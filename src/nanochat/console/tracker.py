"""What is known of the stage that runs: how far, how fast, how long still.

The display's thread reads what the stage's thread writes, without a lock (one that both held around rich's
own locks could deadlock). So values are replaced, never changed in place; a picture may mix two neighbouring
steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from nanochat.runtime.events import BetweenSteps, RolloutsDone, StageProgress, StageStarted, StepDone

TRAINING = frozenset({"base", "mid", "sft", "rl"})
CURVE_POINTS = 128  # of which half to all are in use: a block is at most as wide as half of them
MEMORY_S = 300.0  # the pace forgets over this long, so that it spans several validations


@dataclass(slots=True)
class Pace:
    """How fast work goes: a mean that slowly forgets. The first `add` only sets the starting point."""

    at: float | None = None
    done: float = 0.0
    _amount: float = 0.0
    _seconds: float = 0.0
    _updates: float = 0.0

    def add(self, done: float, now: float) -> None:
        """So much is done by now."""
        if self.at is not None:
            passed = max(0.0, now - self.at)
            keep = math.exp(-passed / MEMORY_S)
            self._amount = keep * self._amount + max(0.0, done - self.done)
            self._seconds = keep * self._seconds + passed
            self._updates = keep * self._updates + 1
        self.at, self.done = now, done

    @property
    def rate(self) -> float | None:
        """Units a second; None when nothing was measured yet."""
        amount, seconds = self._amount, self._seconds
        return amount / seconds if amount > 0 and seconds > 0 else None

    def left(self, total: float, now: float, aside: float = 0.0, aside_now: float = 0.0) -> float | None:
        """Seconds to `total`. Counts down while an update is due, but no further than one update takes.

        Args:
            total: where the end is.
            now: of the clock that `add` was given.
            aside: seconds that other work will take besides.
            aside_now: part of these that comes before the next update.
        """
        rate, at, updates = self.rate, self.at, self._updates
        if rate is None or at is None or updates <= 0:
            return None
        due = min(max(0.0, now - at), self._seconds / updates + aside_now)
        return max(0.0, (total - self.done) / rate + aside - due)


@dataclass(slots=True)
class SideWork:
    """Work between steps of one kind: evaluations, checkpoints or samples.

    Attributes:
        every: steps between two of them; 0 only at the end.
        seconds: one takes; a mean that leans to the newest. None before the first.
        last: step after which it was done last.
    """

    every: int
    seconds: float | None = None
    last: int = 0

    def add(self, step: int, seconds: float) -> None:
        """It was done once more."""
        self.last = step
        self.seconds = seconds if self.seconds is None else (self.seconds + seconds) / 2

    def to_come(self, step: int, total: int) -> int:
        """How many more, after `step` of `total` steps; that of `step` itself counts until it was done."""
        behind = max(step - 1, self.last)
        regular = (total - 1) // self.every - min(behind, total - 1) // self.every if self.every else 0
        return regular + (behind < total)

    def left(self, step: int, total: int) -> float:
        """Seconds that all of them will take; 0 as long as none was measured."""
        return self.to_come(step, total) * (self.seconds or 0.0)

    def due(self, step: int, total: int) -> float:
        """Seconds that the one after `step` takes, if there is one that was not done yet."""
        planned = step == total or (self.every > 0 and step % self.every == 0)
        return (self.seconds or 0.0) if planned and step > self.last else 0.0


@dataclass(frozen=True, slots=True)
class Curve:
    """All values of a run so far in bounded memory: means of as many neighbours as it takes.

    Attributes:
        points: means of `stride` values each.
        stride: doubles when there are `CURVE_POINTS` of them.
        rest: sum of the values since the last point.
        rest_count: how many these are.
    """

    points: tuple[float, ...] = ()
    stride: int = 1
    rest: float = 0.0
    rest_count: int = 0

    def add(self, value: float) -> Curve:
        """The curve with one more value; one that is not finite changes nothing."""
        if not math.isfinite(value):
            return self
        if self.rest_count + 1 < self.stride:
            return replace(self, rest=self.rest + value, rest_count=self.rest_count + 1)
        points = (*self.points, (self.rest + value) / self.stride)
        if len(points) < CURVE_POINTS:
            return Curve(points, self.stride)
        halved = tuple((one + two) / 2 for one, two in zip(points[::2], points[1::2], strict=True))
        return Curve(halved, 2 * self.stride)


@dataclass(slots=True)
class StageTracker:
    """One stage of this run.

    Attributes:
        name: base, data, ...
        started_at: by the display's clock.
        training: made of optimizer steps.
        compiles: the first step compiles.
        total: in `unit`s; 0 is unknown.
        done: of these.
        unit: steps, bytes, characters, merges, tasks, ...
        detail: what is being worked on.
        pace: of `done`; of steps without the first one, which compiles.
        losses: of all steps of this run; in reinforcement learning rewards, whose steps have a loss that says nothing.
        first: first step of this run.
        last: newest step.
        val_bpb: newest validation.
        rollouts: newest answers of reinforcement learning.
        peak_known: whether the device's peak is known, for its share; None where nothing is said of it.
        side: other work that is scheduled, by its kind.
        aside_s: seconds it has taken so far; the pace of steps does not count them.
    """

    name: str
    started_at: float
    training: bool = False
    compiles: bool = False
    total: float = 0.0
    done: float = 0.0
    unit: str = ""
    detail: str = ""
    pace: Pace = field(default_factory=Pace)
    losses: Curve = Curve()
    first: StepDone | None = None
    last: StepDone | None = None
    val_bpb: float | None = None
    rollouts: RolloutsDone | None = None
    peak_known: bool | None = None
    side: dict[str, SideWork] = field(default_factory=dict)
    aside_s: float = 0.0

    @classmethod
    def start(cls, event: StageStarted, now: float) -> StageTracker:
        """The tracker of a stage that begins or goes on."""
        training = event.stage in TRAINING or event.tokens > 0
        tracker = cls(
            name=event.stage,
            started_at=now,
            training=training,
            compiles=training and bool(event.machine.get("compile", True)),
            total=event.total_steps if training else 0,
            done=(event.resumed_from or 0) if training else 0,
            unit="steps" if training else "",
            peak_known=event.machine["peak_flops"] is not None if "peak_flops" in event.machine else None,
            side={work: SideWork(every=every, last=event.resumed_from or 0) for work, every in event.schedule.items()},
        )
        if not training:
            tracker.pace.add(event.resumed_from or 0, now)
        return tracker

    @property
    def fraction(self) -> float | None:
        """0 to 1; None when unknown."""
        return min(1.0, max(0.0, self.done / self.total)) if self.total > 0 else None

    @property
    def percent(self) -> int | None:
        """Whole percents, 100 only at the end; None when unknown."""
        return min(100, max(0, math.floor(100 * self.done / self.total))) if self.total > 0 else None

    def on_step(self, event: StepDone, now: float) -> None:
        """One optimizer step."""
        self.training, self.unit = True, "steps"
        self.done, self.total = event.step, event.total_steps
        if self.rollouts is None:
            self.losses = self.losses.add(event.loss)
        self.pace.add(event.step, now - self.aside_s)
        self.first = self.first or event
        self.last = event

    def on_rollouts(self, event: RolloutsDone) -> None:
        """The answers that the next step learns from."""
        self.rollouts = event
        self.losses = self.losses.add(event.reward)

    def on_side_work(self, event: BetweenSteps) -> None:
        """An evaluation, a checkpoint or samples were made; those that nobody announced stay in the pace of steps."""
        if event.work in self.side:
            self.side[event.work].add(event.step, event.seconds)
            self.aside_s += event.seconds

    def on_progress(self, event: StageProgress, now: float) -> None:
        """Progress of other work. Another unit, or less done than before, is a new piece of it."""
        if (self.unit and event.unit != self.unit) or event.done < self.done:
            pace = Pace()
            pace.add(0, self.started_at if self.pace.at is None else self.pace.at)
            self.pace = pace
        self.unit, self.done, self.total = event.unit, event.done, event.total
        self.detail = event.detail
        self.pace.add(event.done, now)

    def elapsed(self, now: float) -> float:
        """Seconds of this run."""
        return max(0.0, now - self.started_at)

    def left(self, now: float) -> float | None:
        """Seconds to the end of what is under way, with the evaluations and checkpoints to come; None when unknown."""
        if self.total <= 0:
            return None
        step, total = int(self.done), int(self.total)
        aside = sum(work.left(step, total) for work in self.side.values())
        due = sum(work.due(step, total) for work in self.side.values())
        return self.pace.left(self.total, now - self.aside_s, aside, due)

    @property
    def mfu(self) -> float | None:
        """Share of the device's peak in the newest steps; None when the peak is unknown."""
        return self.last.mfu if self.last else None

    @property
    def tokens_per_s(self) -> float | None:
        """Mean over this run's steps but the first one; the newest figure when there is no other."""
        if self.first is None or self.last is None:
            return None
        seconds = self.last.elapsed_s - self.first.elapsed_s
        if self.last.step > self.first.step and seconds > 0:
            return (self.last.tokens - self.first.tokens) / seconds
        return self.last.tokens_per_s
