"""A list to choose from, narrowed by typing; with keys to rename or delete where that makes sense."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from nanochat.tui.chat.telling import Telling

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Line(Generic[T]):
    """One line of the list; foreign text in it is safe already."""

    value: T
    name: str
    about: str = ""


class Picker(Telling, ModalScreen[T | None], Generic[T]):
    """Answers with what was chosen, or None.

    Args:
        question: above the list.
        find: the lines for what was typed.
        typed: what the field holds at first.
        rename: gives a line another name; None where that cannot be done.
        delete: removes what a line stands for.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Back"),
        Binding("down", "move(1)", show=False, priority=True),
        Binding("up", "move(-1)", show=False, priority=True),
        Binding("pagedown", "move(10)", show=False, priority=True),
        Binding("pageup", "move(-10)", show=False, priority=True),
        Binding("f2,ctrl+e", "rename", "Rename", priority=True),
        Binding("delete,ctrl+x", "delete", "Delete", priority=True),
    ]

    def __init__(
        self,
        question: str,
        find: Callable[[str], Sequence[Line[T]]],
        typed: str = "",
        *,
        rename: Callable[[T, str], None] | None = None,
        delete: Callable[[T], None] | None = None,
    ) -> None:
        super().__init__()
        self._question = question
        self._find = find
        self._typed = typed
        self._rename = rename
        self._delete = delete
        self._lines: list[Line[T]] = []
        self._renaming: Line[T] | None = None
        self._deleting: Line[T] | None = None

    def compose(self) -> ComposeResult:
        """A field, and the list."""
        with Vertical(classes="box picker"):
            yield Static(Text(self._question, "bold"), id="question")
            yield Input(self._typed, placeholder="type to narrow", id="typed", compact=True)
            yield OptionList(id="lines", compact=True)
            yield Static(Text(self._keys(), "dim"), id="about")

    def on_mount(self) -> None:
        """Begins with everything."""
        self.query_one("#lines", OptionList).can_focus = False
        self.query_one("#typed", Input).focus()
        self._show()

    @on(Input.Changed, "#typed")
    def _show(self) -> None:
        if self._renaming is not None or not self.query("#lines"):  # or it is being left
            return
        options = self.query_one("#lines", OptionList)
        self._lines = list(self._find(self.query_one("#typed", Input).value))
        options.clear_options()
        options.add_options(
            Option(Text.assemble(line.name, ("  " + line.about if line.about else "", "dim"), no_wrap=True))
            for line in self._lines
        )
        options.highlighted = 0 if self._lines else None
        self._tell(self._keys() if self._lines else "nothing found; Esc goes back")

    def action_move(self, step: int) -> None:
        """Up or down in the list."""
        options = self.query_one("#lines", OptionList)
        if self._lines:
            options.highlighted = max(0, min(len(self._lines) - 1, (options.highlighted or 0) + step))
        self._deleting = None
        self._tell(self._keys())

    @on(Input.Submitted, "#typed")
    def _entered(self, event: Input.Submitted) -> None:
        if self._renaming is not None:
            line, self._renaming = self._renaming, None
            if self._rename and event.value.strip():
                self._rename(line.value, event.value)
            self.query_one("#typed", Input).value = ""
            self.query_one("#question", Static).update(Text(self._question, "bold"))
            self._show()
        elif self._deleting is not None:
            line, self._deleting = self._deleting, None
            if self._delete:
                self._delete(line.value)
            self._show()
        elif (line_ := self._line()) is not None:
            self.dismiss(line_.value)

    @on(OptionList.OptionSelected, "#lines")
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._lines[event.option_index].value)

    def action_rename(self) -> None:
        """The field takes another name for the line."""
        line = self._line()
        if self._rename is None or line is None:
            return
        self._renaming = line
        field = self.query_one("#typed", Input)
        field.value = line.name
        field.cursor_position = len(line.name)
        self.query_one("#question", Static).update(Text("Another name, then Enter", "bold"))

    def action_delete(self) -> None:
        """Asks, then Enter removes."""
        self._deleting = self._line() if self._delete else None
        if self._deleting is not None:
            self._tell(f"Enter deletes “{self._deleting.name}” for good; any arrow keeps it", "bold red")

    def _line(self) -> Line[T] | None:
        at = self.query_one("#lines", OptionList).highlighted
        return self._lines[at] if at is not None and at < len(self._lines) else None

    def _keys(self) -> str:
        extra = "   F2 renames, Delete deletes" if self._delete else ""
        return f"Enter chooses, Esc goes back{extra}"

    def _tell(self, text: str, style: str = "dim") -> None:
        self.query_one("#about", Static).update(Text(text, style))
