"""Where a person writes: it grows with its text, Enter sends, a paste never does, and earlier prompts come back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from textual import events
from textual.message import Message
from textual.widgets import TextArea

from nanochat.runtime.safe_text import safe_text
from nanochat.tui.chat.registry import keys_in
from nanochat.tui.chat.telling import Telling
from nanochat.tui.chat.terminal_keys import NAMES

FOLD_CHARS = 2000  # a longer paste is shown as a chip
FOLD_LINES = 20
_CHIP = re.compile(r"\[(?:pasted|read) [^\]\n]*#(\d+)\]")


class Prompt(Telling, TextArea):
    """The prompt.

    Args:
        earlier: prompts of before, the last one first; asked for when somebody goes back to them.
        keymap: keys that were chosen by the user, by the id of what they do.
    """

    @dataclass
    class Sent(Message):
        """Somebody wants this to be sent; chips are open again."""

        text: str

    class Searching(Message):
        """Somebody looks for an earlier prompt."""

    @dataclass
    class Completing(Message):
        """Somebody wants what he began to type to be completed, or sent where nothing is left to complete."""

        sends: bool

    @dataclass
    class Chosen(Message):
        """Somebody moves in the list of completions."""

        step: int

    def __init__(self, earlier: Callable[[], list[str]], keymap: Mapping[str, str], *, id: str) -> None:
        super().__init__(id=id, soft_wrap=True, tab_behavior="focus", show_line_numbers=False, compact=True)
        self.highlight_cursor_line = False
        self.completing = False  # the list of completions is shown: up and down are for it
        self._earlier = earlier
        # Keys are looked at here and not by bindings: a binding would run when the letters typed after it are there.
        self._keys = {
            one.strip(): key.does for key in keys_in("prompt") for one in keymap.get(key.id, key.keys).split(",")
        }
        self._history: list[str] | None = None  # while somebody goes back
        self._at = 0
        self._draft = ""
        self._chips: dict[str, str] = {}

    # text

    @property
    def whole(self) -> str:
        """What it says, with the text of its chips."""
        return _CHIP.sub(lambda match: self._chips.get(match[1], match[0]), self.text)

    def put(self, text: str) -> None:
        """Other text, the cursor at its end; a long one is not folded, so that it can be edited."""
        self.text = safe_text(text)
        self.move_cursor(self.document.end)
        self._history = None

    def clear_all(self) -> None:
        """Nothing in it."""
        self.put("")
        self._chips.clear()

    def fold_in(self, text: str, what: str) -> None:
        """Insert a text as a chip where it is long, else as it is.

        Args:
            what: "pasted", or "read" and the name of a file.
        """
        text = safe_text(text)  # what is pasted is shown, and never acts
        lines = text.count("\n") + 1
        if len(text) > FOLD_CHARS or lines > FOLD_LINES:
            number = str(len(self._chips) + 1)
            self._chips[number] = text
            name = what.replace("]", ")").replace("\n", " ")
            amount = f"{lines:,} lines" if lines > 1 else f"{len(text):,} characters"
            text = f"[{name} {amount} #{number}]"
        self.insert(text)

    # keys

    async def _on_key(self, event: events.Key) -> None:
        does = self._keys.get(NAMES.get(event.key, event.key))
        if does is None:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()
        getattr(self, f"action_{does}")()

    def action_send(self) -> None:
        """Sends, and is empty; while completions are shown, takes the one that is chosen."""
        if self.completing:
            self.post_message(self.Completing(sends=True))
            return
        text = self.whole
        self.clear_all()
        self.post_message(self.Sent(text))

    def action_history(self) -> None:
        """Searches earlier prompts."""
        self.post_message(self.Searching())

    def action_newline(self) -> None:
        """A new line."""
        self.insert("\n")

    def action_complete(self) -> None:
        """Completes, or goes to the messages."""
        if self.completing:
            self.post_message(self.Completing(sends=False))
        else:
            self.screen.focus_previous()

    def action_cursor_up(self, select: bool = False) -> None:
        """Up; from the first line to the prompt before."""
        if self.completing:
            self.post_message(self.Chosen(-1))
        elif self.cursor_at_first_line and not select:
            self._go_back(1)
        else:
            super().action_cursor_up(select)

    def action_cursor_down(self, select: bool = False) -> None:
        """Down; from the last line to the prompt after."""
        if self.completing:
            self.post_message(self.Chosen(1))
        elif self.cursor_at_last_line and not select and self._history is not None:
            self._go_back(-1)
        else:
            super().action_cursor_down(select)

    def action_delete_left(self) -> None:
        """Deletes a character, or a whole chip."""
        row, column = self.cursor_location
        before = self.document.get_line(row)[:column]
        chips = [match for match in _CHIP.finditer(before) if match.end() == column and match[1] in self._chips]
        if chips and self.selection.is_empty:
            self.delete((row, chips[-1].start()), (row, column))
        else:
            super().action_delete_left()

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.fold_in(event.text.replace("\r\n", "\n").replace("\r", "\n"), "pasted")

    def _go_back(self, step: int) -> None:
        if self._history is None:
            if step < 0:
                return
            self._history, self._at, self._draft = self._earlier(), -1, self.text
        at = self._at + step
        if not -1 <= at < len(self._history):
            return
        history, self._at = self._history, at
        self.put(self._draft if at < 0 else history[at])
        self._history = history if at >= 0 else None
