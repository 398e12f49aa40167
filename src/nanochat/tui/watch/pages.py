"""The pages of the dashboard that arrange themselves: curves with what stands beside them, and samples by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, VerticalScroll
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from nanochat.tui.watch import view
from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.plot import Drawing
from nanochat.tui.watch.run import StageLog
from nanochat.tui.watch.widgets import Plot, Plots, show_lines

WIDE = 100  # cells from which plots stand beside each other
PLOT_LINES = 7
GLANCE_FROM = 40  # lines from which samples stand below the large plot


class Sight(NamedTuple):
    """What curves are drawn of: a stage, one it is compared with, and how they are looked at."""

    log: StageLog
    beside: StageLog | None
    look: Look


class CurvesPage(Container):
    """One large plot, and as many of the others as there is room for.

    Args:
        sight: what is to be drawn, asked at every drawing.
        id: in the app.
    """

    def __init__(self, sight: Callable[[], Sight], *, id: str) -> None:
        super().__init__(id=id)
        self.main_metric = "loss"
        self.draw_s = 0.0  # seconds spent on drawing since someone set it to 0
        self._sight = sight

    def compose(self) -> ComposeResult:
        """The plots, the newest samples, and two lines below them."""
        with Plots(id="plots"):
            with Container(id="main"):
                yield Plot(self.main_metric, self.draw, id="large")
                yield Static(id="glance")
            with Container(id="side"):
                for metric in view.PLOTS:
                    yield Plot(metric, self.draw, id=f"plot-{metric}")
        yield Static(id="looking")
        yield Static(id="comparison")

    def show(self, width: int) -> None:
        """Bring all of it up to date, on a screen with so many cells for a line."""
        log, beside, look = self._sight()
        present = self._present(log) or [self.main_metric]
        if self.main_metric not in present:
            self.main_metric = present[0]
        self._arrange([metric for metric in present if metric != self.main_metric])
        show_lines(self.query_one("#looking", Static), [view.looking(look, log, beside, width)])
        comparison = self.query_one("#comparison", Static)
        show_lines(comparison, [view.comparison(log, beside, look, width)] if beside else [])
        comparison.display = beside is not None
        for plot in self.query(Plot):
            if plot.display:
                plot.refresh()

    def next_metric(self) -> None:
        """The next curve is to be the large one."""
        present = self._present(self._sight().log)
        if present:
            at = present.index(self.main_metric) if self.main_metric in present else -1
            self.main_metric = present[(at + 1) % len(present)]

    def draw(self, metric: str, width: int, height: int) -> tuple[Drawing, tuple[float, float]]:
        """A plot for the widget of a metric, and what part of the x axis it shows."""
        started = time.monotonic()
        log, beside, look = self._sight()
        drawn = view.plot(log, beside, metric, look, width, height)
        self.draw_s += time.monotonic() - started
        return drawn, view.x_range(log, beside, look)

    def _present(self, log: StageLog) -> list[str]:
        return [metric for metric in view.PLOTS if view.has(log, metric)]

    def _arrange(self, others: list[str]) -> None:
        """The large plot, and as many of the others as have room beside it, or below it on a narrow screen."""
        width, height = self.query_one("#plots").size
        wide = width >= WIDE
        room = height // PLOT_LINES if wide else (height - 2 * PLOT_LINES) // PLOT_LINES
        shown = others[: max(0, room)]
        large, side = self.query_one("#large", Plot), self.query_one("#side")
        large.metric = self.main_metric
        for metric in view.PLOTS:
            self.query_one(f"#plot-{metric}").display = metric in shown
        side.display = bool(shown)
        side.styles.height = "100%" if wide else PLOT_LINES * len(shown)
        self.query_one("#plots").set_class(wide, "wide")
        log = self._sight().log
        glance = self.query_one("#glance", Static)
        glance.display = wide and height >= GLANCE_FROM and bool(view.sample_steps(log))
        if glance.display:
            show_lines(glance, [view.glance(log)])


class SamplesPage(Horizontal):
    """A list of steps, and what the model said after the chosen one."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._log: StageLog | None = None
        self._steps: list[int] = []

    def compose(self) -> ComposeResult:
        """The list, and beside it the samples."""
        yield OptionList(id="steps")
        with VerticalScroll():
            yield Static(id="said")

    def show(self, log: StageLog) -> None:
        """Bring it up to date; the chosen step stays chosen, the newest one stays the newest."""
        steps = view.sample_steps(log)
        options = self.query_one("#steps", OptionList)
        if log is not self._log:
            self._log, self._steps = log, []
        if steps != self._steps:
            at = options.highlighted or 0
            chosen = self._steps[at] if 0 < at < len(self._steps) else None
            self._steps = steps
            options.clear_options()
            options.add_options(Option(Text(f"step {step:,}")) for step in steps)
            options.highlighted = (steps.index(chosen) if chosen in steps else 0) if steps else None
        self._show_said()

    @on(OptionList.OptionHighlighted, "#steps")
    def _show_said(self) -> None:
        at = self.query_one("#steps", OptionList).highlighted
        text = Text("No samples yet; --sample-every sets how often they are taken.", "dim")
        if self._log is not None and at is not None and at < len(self._steps):
            text = view.samples(self._log, self._steps[at])
        show_lines(self.query_one("#said", Static), [text])
