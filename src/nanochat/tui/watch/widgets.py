"""The parts of the dashboard that answer to hand and mouse: a plot, a list of runs, the page of keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Footer, OptionList, Static
from textual.widgets._footer import FooterKey
from textual.widgets.option_list import Option

from nanochat.tui.watch.plot import Drawing


def show_lines(where: Static, lines: Sequence[Text]) -> None:
    """Lines into a part of the screen, if they are others than before."""
    text = Text("\n").join(lines)
    if where.content != text:
        where.update(text)


Source = Callable[[str, int, int], tuple[Drawing, tuple[float, float]]]


class Plot(Widget):
    """One plot. A click puts the cursor there, a double click makes the plot the large one, the wheel zooms.

    Args:
        metric: what it shows.
        source: from metric, width and height to the drawing and its part of the x axis.
        id: in the page.
    """

    @dataclass
    class Pointed(Message):
        """Somebody pointed at this x."""

        x: float

    @dataclass
    class Chosen(Message):
        """Somebody wants this metric to be the large one."""

        metric: str

    @dataclass
    class Zoomed(Message):
        """Somebody turned the wheel: closer, or away."""

        closer: bool
        x: float

    def __init__(self, metric: str, source: Source, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.metric = metric
        self._source = source
        self._drawing = Drawing([])
        self._x_range = (0.0, 1.0)

    def render(self) -> Text:
        """Draws it at its present size."""
        width, height = self.size
        self._drawing, self._x_range = self._source(self.metric, width, height)
        return Text("\n").join(self._drawing.lines)

    def on_click(self, event: events.Click) -> None:
        """Points, or chooses."""
        if event.chain == 2:
            self.post_message(self.Chosen(self.metric))
        elif (x := self._x_at(event)) is not None:
            self.post_message(self.Pointed(x))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Closer."""
        self._zoom(event, closer=True)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Away."""
        self._zoom(event, closer=False)

    def _zoom(self, event: events.MouseEvent, closer: bool) -> None:
        event.stop()
        if (x := self._x_at(event)) is not None:
            self.post_message(self.Zoomed(closer, x))

    def _x_at(self, event: events.MouseEvent) -> float | None:
        offset = event.get_content_offset(self)
        return None if offset is None else self._drawing.x_at(offset.x, self.size.width, self._x_range)


class KeyLine(Footer):
    """The last line: keys with what they do, as many as there is room for without cutting one."""

    def compose(self) -> ComposeResult:
        """The keys, in the order in which they are bound."""
        room = self.app.size.width
        for key in super().compose():
            if isinstance(key, FooterKey):
                room -= cell_len(f" {key.key_display} {key.description} ")
            if room >= 0:
                yield key

    def on_resize(self) -> None:
        """Another width has room for others."""
        self.refresh(recompose=True)


class Plots(Container):
    """The place of all plots."""

    class Resized(Message):
        """It has another size: what fits is to be arranged anew."""

    def on_resize(self) -> None:
        """Says so; events of a size do not reach the app by themselves."""
        self.post_message(self.Resized())


class Picker(ModalScreen[int | None]):
    """A list to choose from; answers with the number of the line, or None.

    Args:
        question: above the list.
        lines: foreign text is safe already.
        chosen: the line to begin at.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "Back")]

    def __init__(self, question: str, lines: Sequence[Text], chosen: int = 0) -> None:
        super().__init__()
        self._question = question
        self._lines = lines
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """The question and the list."""
        with Vertical(classes="box"):
            yield Static(Text(self._question, "bold"))
            yield OptionList(*(Option(line) for line in self._lines))
            yield Static(Text("Enter chooses, Escape goes back", "dim"))

    def on_mount(self) -> None:
        """Begins at the chosen line."""
        self.query_one(OptionList).highlighted = self._chosen

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Answers."""
        self.dismiss(event.option_index)


class Help(ModalScreen[None]):
    """The page of keys; any key leaves it."""

    def __init__(self, text: Text) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """The text in a box that scrolls where the screen is small."""
        with Vertical(classes="box"):
            yield Static(self._text)

    def on_key(self, event: events.Key) -> None:
        """Leaves, except for scrolling."""
        if event.key not in ("up", "down", "pageup", "pagedown"):
            event.stop()
            self.dismiss()

    def on_click(self) -> None:
        """Leaves."""
        self.dismiss()
