"""The dashboard: pages, keys, and a look at the files once a second.

Files are read on a thread, so that a folder on a slow network never holds a key up; what was read is taken in on
the interface's own. Nothing is drawn that has not changed, and plots take a small share of a core whatever they hold.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.css.query import NoMatches
from textual.widgets import ContentSwitcher, Static

from nanochat.console.words import safe
from nanochat.runtime.paths import Paths
from nanochat.tui.watch import tables, view
from nanochat.tui.watch.comparison import end_of
from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.model import Model, runs
from nanochat.tui.watch.pages import CurvesPage, SamplesPage, Sight
from nanochat.tui.watch.run import StageLog
from nanochat.tui.watch.widgets import Help, KeyLine, Picker, Plot, Plots, show_lines

POLL_S = 1.0
PLOT_SHARE = 0.015  # of a core; as much again goes into putting it on the screen
KEYS = (
    ("1 2 3 4", "curves, samples, stages, notices"),
    ("x", "draw and compare by step, tokens or time"),
    ("l", "logarithmic axis, or linear"),
    ("s", "smooth the loss less or more"),
    ("+  -  0", "closer, away, all (or the wheel)"),
    ("← →", "move the cursor, with Shift further (or a click); Escape: off"),
    ("m", "the next curve is the large one (or a double click)"),
    ("n", "next stage of this model"),
    ("c", "compare with another run"),
    ("r", "watch another run"),
    ("t", "dark or light"),
    ("q", "leave; the run goes on"),
)


class WatchApp(App[None]):
    """The dashboard of one run.

    Args:
        paths: where other runs are.
        model: what to watch.
        other: what to compare it with.
        look: how to look at the curves at first.
    """

    TITLE = "nanochat watch"
    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = "watch.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("1", "page('curves')", "Curves"),
        Binding("2", "page('samples')", "Samples"),
        Binding("3", "page('stages')", "Stages"),
        Binding("4", "page('notices')", "Notices"),
        Binding("x", "axis", "Axis"),
        Binding("c", "compare", "Compare"),
        Binding("l", "log", "Log"),
        Binding("s", "smooth", "Smooth"),
        Binding("plus,equals_sign", "zoom(True)", "Zoom", key_display="+"),
        Binding("minus", "zoom(False)", show=False),
        Binding("0", "all", show=False),
        Binding("left", "move(-1)", show=False),
        Binding("right", "move(1)", show=False),
        Binding("shift+left", "move(-10)", show=False),
        Binding("shift+right", "move(10)", show=False),
        Binding("escape", "point", show=False),
        Binding("m", "metric", "Main"),
        Binding("n", "stage", "Stage"),
        Binding("r", "run", "Runs"),
        Binding("t", "light", "Light"),
    ]

    def __init__(self, paths: Paths, model: Model, other: Model | None, look: Look) -> None:
        super().__init__()
        self.paths = paths
        self.model = model
        self.other = other
        self.look = look
        self._wake = asyncio.Event()
        self._drawn_at = 0.0
        self._stale = True

    # what is on the screen

    def compose(self) -> ComposeResult:
        """Head, the pages, the footer."""
        yield Static(id="head")
        with ContentSwitcher(initial="curves"):
            yield CurvesPage(lambda: Sight(self.log_shown, self.beside, self.look), id="curves")
            yield SamplesPage(id="samples")
            with VerticalScroll(id="stages"):
                yield Static(id="table")
            with VerticalScroll(id="notices"):
                yield Static(id="lines")
        yield KeyLine(show_command_palette=False)

    def on_mount(self) -> None:
        """Begins to follow the files."""
        self.run_worker(self._follow())

    def on_resize(self) -> None:
        """Lines are as long as the screen is wide."""
        self._show(at_once=True)

    @on(Plots.Resized)
    def _on_plots_resized(self) -> None:
        self._show(at_once=True)

    @property
    def log_shown(self) -> StageLog:
        """The stage that is watched."""
        return self.model.shown

    @property
    def beside(self) -> StageLog | None:
        """The stage it is compared with; a run is not compared with itself."""
        if self.other is None:
            return None
        beside = self.other.beside(self.log_shown)
        return None if beside.folder == self.log_shown.folder else beside

    async def _follow(self) -> None:
        """Read what is new, again and again; without a pause as long as there is more."""
        while True:
            changed = False
            for model in (self.model, self.other):
                if model is not None:
                    news = await asyncio.to_thread(model.read)
                    changed = model.take(news) or changed
            with contextlib.suppress(NoMatches):  # its parts are gone before this ends, when the app is left
                self._show(changed)
            more = any(model.left and not model.problem for model in (self.model, self.other) if model)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0.01 if more else POLL_S)
            self._wake.clear()

    def _show(self, changed: bool = True, at_once: bool = False) -> None:
        """Bring what is seen up to date; plots only when they changed, and not too often unless a key asked."""
        now, width = time.time(), max(1, self.size.width - 2)
        self._put("#head", view.head(self.model, now, width))
        self._stale = self._stale or changed
        page = self.query_one(ContentSwitcher).current
        if page == "stages":
            self._put("#table", tables.stages(self.model, now, width))
        curves = self.query_one(CurvesPage)
        rested = time.monotonic() - self._drawn_at
        if not self._stale or (not at_once and rested < curves.draw_s / PLOT_SHARE):
            return
        self._stale, self._drawn_at, curves.draw_s = False, time.monotonic(), 0.0
        if page == "curves":
            curves.show(width)
        elif page == "samples":
            self.query_one(SamplesPage).show(self.log_shown)
        elif page == "notices":
            self._put("#lines", view.notices(self.log_shown))

    def _put(self, selector: str, lines: list[Text]) -> None:
        show_lines(self.query_one(selector, Static), lines)

    # looking

    def _look(self, look: Look) -> None:
        self.look = look
        self._show(at_once=True)

    def action_axis(self) -> None:
        """By step, by tokens, by time: the cursor stays at its step, all is shown."""
        axis, cursor = self.look.next_axis(), self.look.cursor
        place = None if cursor is None else self.log_shown.steps.place_at(self.look.axis, cursor)
        self._look(replace(self.look.whole(), axis=axis, cursor=place.on(axis) if place else None))

    def action_log(self) -> None:
        """Logarithmic or linear."""
        self._look(replace(self.look, log=not self.look.log))

    def action_smooth(self) -> None:
        """The next smoothing."""
        self._look(self.look.smoother())

    def action_zoom(self, closer: bool) -> None:
        """Half or twice of what is shown."""
        self._look(self.look.zoomed(closer, view.end(self.log_shown, self.beside, self.look)))

    def action_all(self) -> None:
        """The whole run."""
        self._look(self.look.whole())

    def action_move(self, hundredths: int) -> None:
        """Move the cursor by some hundredths of what is shown."""
        log, look = self.log_shown, self.look
        self._look(look.moved(hundredths, view.end(log, self.beside, look), end_of(log, look.axis)))

    def action_point(self) -> None:
        """Remove the cursor."""
        self._look(self.look.pointing(None))

    def action_metric(self) -> None:
        """The next curve is the large one."""
        self.query_one(CurvesPage).next_metric()
        self._show(at_once=True)

    @on(Plot.Pointed)
    def _on_pointed(self, message: Plot.Pointed) -> None:
        self._look(self.look.pointing(message.x))

    @on(Plot.Chosen)
    def _on_chosen(self, message: Plot.Chosen) -> None:
        self.query_one(CurvesPage).main_metric = message.metric
        self._look(self.look.pointing(None))  # the first of the two clicks has put it there

    @on(Plot.Zoomed)
    def _on_zoomed(self, message: Plot.Zoomed) -> None:
        self.look = self.look.pointing(message.x)
        self.action_zoom(message.closer)

    # what is watched

    def action_page(self, page: str) -> None:
        """Another page."""
        self.query_one(ContentSwitcher).current = page
        if page == "samples":
            self.query_one("#steps").focus()
        elif page != "curves":
            self.query_one(f"#{page}").focus()
        self._show(at_once=True)

    def action_stage(self) -> None:
        """The next stage of this model."""
        present = self.model.present
        if present:
            at = present.index(self.log_shown.stage) if self.log_shown.stage in present else -1
            self.model.stage = present[(at + 1) % len(present)]
            self._look_anew()

    def action_run(self) -> None:
        """Ask for another run to watch."""
        found = runs(self.paths)
        lines = [Text(f"{safe(tag)}:{stage}") for tag, stage in found]

        def chosen(at: int | None) -> None:
            if at is not None:
                self.model = Model(self.paths.models / found[at][0], found[at][1])
                self._wake.set()
                self._look_anew()

        self.push_screen(Picker("Watch", lines), chosen)

    def action_compare(self) -> None:
        """Ask for a run to compare with."""
        own = self.log_shown
        found = [pair for pair in runs(self.paths) if pair != (own.tag, own.stage)]
        lines = [Text("no other run", "dim"), *(Text(f"{safe(tag)}:{stage}") for tag, stage in found)]

        def chosen(at: int | None) -> None:
            if at is not None:
                self.other = Model(self.paths.models / found[at - 1][0], found[at - 1][1]) if at else None
                self._wake.set()
                self._look_anew()

        self.push_screen(Picker("Compare with", lines, min(1, len(found))), chosen)

    def _look_anew(self) -> None:
        self._look(self.look.whole().pointing(None))

    def action_help(self) -> None:
        """The page of keys."""
        text = Text().append("Keys\n\n", "bold")
        for key, meaning in KEYS:
            text.append(f"{key:<9}", "bold cyan").append(f"{meaning}\n")
        text.append("\nA line is the smoothed mean, the dots around it are single steps.\n", "dim")
        text.append("✓ done   ▸ under way   ? silent for longer than before   · to come", "dim")
        self.push_screen(Help(text))

    def action_light(self) -> None:
        """Dark or light."""
        self.theme = "textual-dark" if self.theme == "textual-light" else "textual-light"
