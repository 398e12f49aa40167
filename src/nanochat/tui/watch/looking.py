"""How curves are looked at: over what, how smooth, how close, and where the cursor stands, as values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from nanochat.tui.watch.series import AXES, Axis

SMOOTHINGS = (0.02, 0.1, 0.0)  # of the steps so far; 0 shows the steps as they are
LEAST_SPAN = 0.001  # of a run: nothing is known of less than a bucket


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """How curves are looked at.

    Attributes:
        axis: what x is.
        log: whether y is logarithmic.
        smoothing: share of the steps so far that a smoothed value averages over.
        span: how much of the x axis is shown; None is all of it.
        start: where that begins; None lets it end where the runs do, and go with them.
        cursor: x that figures are of; None is the end.
    """

    axis: Axis = "step"
    log: bool = False
    smoothing: float = SMOOTHINGS[0]
    span: float | None = None
    start: float | None = None
    cursor: float | None = None

    def window(self, end: float) -> tuple[float, float]:
        """What part of the x axis is shown of runs that have come to `end`."""
        if self.span is None:
            return 0.0, end
        start = end - self.span if self.start is None else min(self.start, end - self.span)
        return max(0.0, start), max(0.0, start) + self.span

    def zoomed(self, closer: bool, end: float) -> Look:
        """Half or twice as much, around the cursor, else at the end."""
        low, high = self.window(end)
        span = (high - low) * (0.5 if closer else 2.0)
        if span > 0.999 * end:
            return self.whole()
        if span < end * LEAST_SPAN:
            return self
        if self.cursor is None:
            return replace(self, span=span, start=None)
        share = min(1.0, max(0.0, (self.cursor - low) / (high - low)))
        return replace(self, span=span, start=max(0.0, self.cursor - span * share))

    def moved(self, hundredths: int, end: float, at: float) -> Look:
        """The cursor moved by some hundredths of what is shown, which goes with it; it sets out from `at`."""
        low, high = self.window(end)
        before = at if self.cursor is None else self.cursor
        cursor = min(end, max(0.0, before + (high - low) * hundredths / 100))
        if self.span is None:
            return replace(self, cursor=cursor)
        return replace(self, cursor=cursor, start=min(max(low, cursor - self.span), cursor))

    def whole(self) -> Look:
        """All of the x axis."""
        return replace(self, span=None, start=None)

    def pointing(self, x: float | None) -> Look:
        """The cursor put somewhere, or removed: the end counts again."""
        return replace(self, cursor=x, start=self.start if x is not None else None)

    def smoother(self) -> Look:
        """The next smoothing."""
        return replace(self, smoothing=SMOOTHINGS[(SMOOTHINGS.index(self.smoothing) + 1) % len(SMOOTHINGS)])

    def next_axis(self) -> Axis:
        """What x could be instead."""
        return AXES[(AXES.index(self.axis) + 1) % len(AXES)]
