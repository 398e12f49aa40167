"""The help screen, made of the tables of commands and keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from nanochat.tui.chat.registry import COMMANDS, KEYS, key_name

_PLACES = {
    "anywhere": "Anywhere",
    "prompt": "In the prompt",
    "message": "On a message (Tab goes there, Esc comes back)",
}


class Help(ModalScreen[None]):
    """All commands and keys.

    Args:
        keymap: keys that were chosen by the user, by the id of what they do.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,f1,enter", "dismiss", "Back")]

    def __init__(self, keymap: Mapping[str, str]) -> None:
        super().__init__()
        self._keymap = keymap

    def compose(self) -> ComposeResult:
        """One text that scrolls."""
        with VerticalScroll(classes="box help"):
            yield Static(help_text(self._keymap))

    def on_mount(self) -> None:
        """The arrows scroll."""
        self.query_one(VerticalScroll).focus()


def help_text(keymap: Mapping[str, str]) -> Text:
    """Commands and keys with what they do."""
    text = Text.assemble(("Commands", "bold"))
    text.append("   Tab or Enter completes one\n\n", "dim")
    wide = max(len(command.usage) for command in COMMANDS) + 2
    for command in COMMANDS:
        text.append(command.usage.ljust(wide), "bold cyan").append(f"{command.help}\n")
    for where, title in _PLACES.items():
        text.append(f"\n{title}\n\n", "bold")
        for key in KEYS:
            if key.where == where:
                keys = ", ".join(key_name(one) for one in keymap.get(key.id, key.keys).split(","))
                text.append(keys.ljust(wide), "bold cyan").append(f"{key.help}\n")
    text.append("\nKeys are set in the table [chat.keys] of nanochat.toml, by the names in docs/chat-screen.md.", "dim")
    return text
