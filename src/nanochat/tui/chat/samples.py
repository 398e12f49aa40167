"""Several answers to one question in a grid, given at the same time; the best one is picked, all are kept."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.screen import ModalScreen
from textual.widgets import Static

from nanochat.engine.backend import ChatBackend, Question
from nanochat.tokenizer.conversation import Message
from nanochat.tui.chat.asking import Asking
from nanochat.tui.chat.panes import Pane
from nanochat.tui.chat.talk import figures_of

COUNT = 4
TICK_S = 0.05
WIDE = 50  # cells that a pane should have

Picked = tuple[int, list[tuple[Message, dict[str, Any]]]]


class Samples(ModalScreen[Picked | None]):
    """The grid. Answers with which one was picked, and with all of them; or None.

    Args:
        backend: answers.
        question: asks for several answers.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("s", "stop", "Stop"),
        Binding("enter", "pick_focused", "Pick", priority=True),
        *(Binding(str(number), f"pick({number - 1})", show=False) for number in range(1, 10)),
        Binding("right,l", "app.focus_next", show=False),
        Binding("left,h", "app.focus_previous", show=False),
    ]

    def __init__(self, backend: ChatBackend, question: Question) -> None:
        super().__init__()
        self._question = question
        self._panes = [Pane(f"{number + 1}", plain=question.text is not None) for number in range(question.samples)]
        self._asking = Asking(backend, question)

    def compose(self) -> ComposeResult:
        """A line, the panes."""
        keys = f"1 to {len(self._panes)} or Enter picks the best: it gets a thumb up, the others are kept beside it"
        yield Static(Text(f"{keys}   s stops   Esc back", "dim"), id="about")
        with Grid(id="grid"):
            yield from self._panes

    def on_mount(self) -> None:
        """Begins to look for news."""
        self.set_interval(TICK_S, self._take)
        self.on_resize()

    def on_resize(self) -> None:
        """As many panes beside each other as have room."""
        columns = max(1, min(len(self._panes), self.app.size.width // WIDE, 3))
        if len(self._panes) == 4 and columns == 3:
            columns = 2
        grid = self.query_one("#grid", Grid)
        grid.styles.grid_size_columns = columns
        grid.styles.grid_size_rows = -(-len(self._panes) // columns)

    def _take(self) -> None:
        events = self._asking.take()
        for number, pane in enumerate(self._panes):
            pane.take(event for event in events if getattr(event, "sample", 0) == number)
            if self._asking.over and self._asking.error and pane.end is None and pane.turn.running:
                pane.fail(self._asking.error)

    def action_pick(self, number: int) -> None:
        """One is the best; it and those that are whole are kept."""
        if number >= len(self._panes) or self._panes[number].end is None:
            self.app.notify("it is not whole yet; s stops all of them", markup=False)
            return
        whole = [
            (at, pane.end)
            for at, pane in enumerate(self._panes)
            if pane.end is not None and (at == number or pane.end.stop_reason != "cancelled")
        ]
        best = [at for at, _ in whole].index(number)
        self._asking.stop()
        self.dismiss((best, [(end.message, figures_of(end)) for _, end in whole]))

    def action_pick_focused(self) -> None:
        """The one that has the focus is the best."""
        if isinstance(self.focused, Pane):
            self.action_pick(self._panes.index(self.focused))

    def action_stop(self) -> None:
        """Enough said."""
        self._asking.stop()

    def action_back(self) -> None:
        """None of them."""
        self._asking.stop()
        self.dismiss(None)
