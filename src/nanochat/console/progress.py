"""The display of a run on stderr: one live block on a terminal, a line now and then everywhere else.

Every event only changes a few fields; a thread of rich paints the block four times a second. Lines that a
person wants to keep (a stage's end, scores, notices) are printed above it. Not covered: what other processes
or C libraries write to the terminal meanwhile.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from nanochat.console.kept import finished_line, score_lines, spent_line
from nanochat.console.lines import Board, Part, block, first_step_text, fit, log_line
from nanochat.console.tracker import StageTracker
from nanochat.console.words import safe, to_ascii
from nanochat.runtime.events import (
    BetweenSteps,
    Evaluated,
    Event,
    Notice,
    RolloutsDone,
    StageFinished,
    StageProgress,
    StageStarted,
    StepDone,
)

REFRESH_PER_S = 4.0  # a picture costs 0.3 ms; more often is no easier to read


class ConsoleProgress:
    """Shows events; use it as a context manager and call it with each of them.

    Alive only on a terminal that moves its cursor and wants colour; else plain lines without any escape code.
    The cursor stays visible, on an empty line below the block, so a killed process leaves all well.

    Args:
        stages: the pipeline that is shown, in order; `("base",)` for a single stage.
        console: a rich console, on stderr.
        price_per_hour: of the whole machine in US dollars, to show what the run costs.
        log_every_s: at most one line of progress in this time where there is no live block.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        stages: Sequence[str],
        *,
        console: Console,
        price_per_hour: float | None = None,
        log_every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._alive = console.is_terminal and console.is_interactive and not console.no_color
        self._ascii = not str(getattr(console.file, "encoding", None) or "utf-8").lower().startswith("utf")
        self._log_every_s = log_every_s
        self._clock = clock
        self._board = Board(stages=list(stages), price_per_hour=price_per_hour, started_at=clock())
        self._scores: list[Evaluated] = []
        self._next_log_at = clock() + log_every_s
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._print_scores()
            if self._board.price_per_hour is not None:
                self._print(spent_line(self._board, self._clock()))
        finally:
            self._stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is painted while the block runs, so that a question can be asked."""
        self._stop()
        try:
            yield
        finally:
            self._start()

    def __call__(self, event: Event) -> None:
        """Take in one event; unknown ones are nothing to show."""
        match event:
            case StageStarted():
                self._on_started(event)
            case StepDone():
                self._print_scores()  # of the validation before it
                self._stage(event.stage).on_step(event, self._clock())
                self._log()
            case RolloutsDone():
                self._stage(event.stage).on_rollouts(event)
            case BetweenSteps():
                self._stage(event.stage).on_side_work(event)
                self._print_scores()
            case StageProgress():
                stage = self._stage(event.stage)
                if event.done < stage.done:  # the next model is asked: the scores of the last one are complete
                    self._print_scores()
                stage.on_progress(event, self._clock())
                self._log()
            case Evaluated():
                self._on_evaluated(event)
            case Notice():
                self._on_notice(event)
            case StageFinished():
                self._on_finished(event)

    def picture(self, width: int) -> list[Text]:
        """The lines of the live block as they are now, each of at most `width` cells."""
        return [self._shown(line) for line in block(self._board, width, self._clock())]

    def _start(self) -> None:
        if self._alive:
            self._live = Live(
                console=self._console,
                get_renderable=lambda: _Picture(self),
                refresh_per_second=REFRESH_PER_S,
                transient=True,
                redirect_stdout=sys.stdout.isatty(),  # what goes to a file or a pipe must get there
            )
            self._live.start(refresh=True)
            self._console.show_cursor(True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _stage(self, name: str) -> StageTracker:
        """The tracker of the stage that runs; a stage that did not announce itself begins now."""
        current = self._board.current
        if current is None or current.name != name:
            current = StageTracker(name=name, started_at=self._clock())
            self._make_current(current)
        return current

    def _make_current(self, stage: StageTracker) -> None:
        if stage.name not in self._board.stages:
            self._board.stages.append(stage.name)
        self._board.finished.pop(stage.name, None)
        self._board.current = stage

    def _on_started(self, event: StageStarted) -> None:
        self._print_scores()
        now = self._clock()
        stage = StageTracker.start(event, now)
        self._make_current(stage)
        head = Part(f"▸ {safe(event.stage)}", "cyan")
        resumed = event.resumed_from is not None
        steps = f"resumed at step {event.resumed_from:,} of" if event.resumed_from is not None else ""
        parts = [head, Part(f"{steps} {event.total_steps:,}{'' if resumed else ' steps'}".strip())]
        if stage.training and not self._alive:
            self._print(fit([*parts, Part(first_step_text(self._board, stage))], self._width))
        elif stage.training and resumed:
            self._print(fit(parts, self._width))
        self._next_log_at = max(self._next_log_at, now + self._log_every_s)

    def _on_evaluated(self, event: Evaluated) -> None:
        if event.name == "val_bpb":
            if self._board.current is not None and self._board.current.name == event.stage:
                self._board.current.val_bpb = event.value
            return
        if event.name == "val_error":  # its parts are shown
            return
        if self._scores and self._scores[0].stage != event.stage:
            self._print_scores()
        self._scores.append(event)

    def _on_notice(self, event: Notice) -> None:
        warning = event.level == "warning"
        text = Text(f"{'warning: ' if warning else ''}{safe(event.message)}", "yellow" if warning else "")
        if self._width is None:
            self._print(Text("  ") + text)
            return
        for line in self._shown(text).wrap(self._console, max(10, self._width - 2), overflow="fold"):
            line.rstrip()
            self._print(Text("  ") + line)

    def _on_finished(self, event: StageFinished) -> None:
        self._print_scores()
        current = self._board.current
        stage = current if current is not None and current.name == event.stage else None
        seconds = max(event.elapsed_s, stage.elapsed(self._clock()) if stage else 0.0)
        if stage is not None and stage.compiles and stage.last is not None:
            self._board.compiled = True
        if event.stage not in self._board.stages:
            self._board.stages.append(event.stage)
        self._board.finished[event.stage] = None if event.skipped else seconds
        if stage is not None or current is None:
            self._board.current = None
        self._print(finished_line(event, stage, seconds, self._width))

    def _print_scores(self) -> None:
        if self._scores:
            scores, self._scores = self._scores, []
            for line in score_lines(scores[0].stage, scores, self._width):
                self._print(line)

    def _log(self) -> None:
        """A line of progress, where there is no live block and the last one is long enough ago."""
        now = self._clock()
        if self._alive or now < self._next_log_at or self._board.current is None:
            return
        self._next_log_at = now + self._log_every_s
        self._print(log_line(self._board, self._board.current, now))

    @property
    def _width(self) -> int | None:
        """Cells of a line that stays; the last column is left free. None where lines may have any length."""
        return max(10, self._console.width - 1) if self._alive else None

    def _shown(self, line: Text) -> Text:
        if self._ascii:
            line.plain = to_ascii(line.plain)
        return line

    def _print(self, line: Text) -> None:
        """One line that stays."""
        if self._alive:
            line = self._shown(line)
            line.end = "\n"
            self._console.print(line, no_wrap=True, overflow="ellipsis", highlight=False)
        else:
            plain = to_ascii(line.plain) if self._ascii else line.plain
            self._console.print(Text(plain), soft_wrap=True, highlight=False)


class _Picture:
    """What rich paints: the block as it is at that moment, and the empty line that the cursor rests on."""

    def __init__(self, progress: ConsoleProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._progress.picture(max(10, options.max_width - 1)):
            line.end = "\n"
            line.no_wrap = True
            yield line
        yield Text("")
