"""Two runs at the same step, the same tokens or the same seconds of training: what each has reached there."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.run import StageLog
from nanochat.tui.watch.series import Axis, Point, value_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One value of two runs at the same place.

    Attributes:
        metric: loss, val_bpb or tokens_per_s.
        x: the place; without a cursor the last one that both have this value at.
        own: value of the run that is watched.
        other: value of the other one.
    """

    metric: str
    x: float
    own: float
    other: float

    @property
    def difference(self) -> float:
        """Own less other."""
        return self.own - self.other


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What two runs have reached at the same place."""

    name: str  # of the other run
    axis: Axis
    x: float
    differences: tuple[Difference, ...]


def curve(log: StageLog, metric: str, look: Look) -> list[Point]:
    """The line of one value of a run, smoothed where steps are noisy."""
    noisy = metric in ("loss", "tokens_per_s", "mfu")
    return log.curve(metric, look.axis, look.smoothing if noisy else 0.0)


def end_of(log: StageLog, axis: Axis) -> float:
    """Where a run is on an axis."""
    if log.last is None:
        return 0.0
    return {"step": float(log.last.step), "tokens": float(log.last.tokens), "time": log.last.elapsed_s}[axis]


def compare(own: StageLog, other: StageLog, look: Look) -> Comparison:
    """Loss, validation and speed of two runs at the cursor, else at the last place that both have reached."""
    x = look.cursor
    if x is None:
        x = min(end_of(own, look.axis), end_of(other, look.axis))
    found = []
    for metric in ("loss", "val_bpb", "tokens_per_s"):
        curves = [curve(log, metric, look) for log in (own, other)]
        at = x if look.cursor is not None else min([x, *(points[-1].x for points in curves if points)])
        a, b = (value_at(points, at) for points in curves)
        if a is not None and b is not None:
            found.append(Difference(metric=metric, x=at, own=a, other=b))
    return Comparison(name=f"{other.tag}:{other.stage}", axis=look.axis, x=x, differences=tuple(found))
