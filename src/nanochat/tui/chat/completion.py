"""What can follow what was begun after a slash: commands by their names, then what a command takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from nanochat.tui.chat.registry import COMMANDS, Command, find, matching

LINES = 9


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to go on.

    Attributes:
        text: the whole prompt, if it is taken.
        name: what the list shows.
        help: what it shows beside it.
        done: whether the prompt can be sent with it.
    """

    text: str
    name: str
    help: str
    done: bool


def offers(text: str, values: Callable[[Command, str], Sequence[tuple[str, str]]]) -> list[Offer]:
    """Ways to go on with a prompt; none where it is no command, or nothing is left to be said.

    Args:
        text: what was typed so far.
        values: what a command takes, from the command and the beginning of its last word: (value, what it is).
    """
    if not text.startswith("/") or "\n" in text:
        return []
    name, space, rest = text[1:].partition(" ")
    if not space:
        return [
            Offer(f"/{command.name}{' ' if command.takes else ''}", command.usage, command.help, not command.needs)
            for command in (matching(name) if name else COMMANDS)
        ]
    command = find(name)
    if command is None or not command.completes:
        return []
    before, _, word = rest.rpartition(" ")
    head = f"/{name} {before}{' ' if before else ''}"
    found = [(value, what) for value, what in values(command, word) if value.startswith(word)]
    if [value for value, _ in found] == [word]:
        return []
    return [Offer(head + value, value, what, command.completes != "setting") for value, what in found]


class Completions(OptionList, can_focus=False):
    """The list above the prompt; the prompt keeps the keys."""

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id, compact=True)
        self.offered: list[Offer] = []

    def show(self, offered: list[Offer]) -> None:
        """These, or nothing."""
        if [offer.text for offer in offered] != [offer.text for offer in self.offered]:
            self.offered = offered
            self.clear_options()
            wide = max((len(offer.name) for offer in offered), default=0)
            self.add_options(
                Option(Text.assemble((offer.name.ljust(min(wide, 34) + 2), "bold"), (offer.help, "dim"), no_wrap=True))
                for offer in offered
            )
            self.highlighted = 0 if offered else None
        self.display = bool(offered)

    def move(self, step: int) -> None:
        """Up or down, around the ends."""
        if self.offered:
            self.highlighted = ((self.highlighted or 0) + step) % len(self.offered)

    @property
    def chosen(self) -> Offer | None:
        """The one that is marked."""
        at = self.highlighted
        return self.offered[at] if at is not None and at < len(self.offered) else None
