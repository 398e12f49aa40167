"""How the screen of `nanochat chat` looks and which keys it takes."""

from __future__ import annotations

from dataclasses import dataclass, fields

from nanochat.config.fields import option


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatScreenConfig:
    """Looks of the screen.

    Attributes:
        theme: dark, light, ansi-dark or ansi-light (the sixteen colours of the terminal), or another one of Textual's.
    """

    theme: str = option("dark", "Colours: dark, light, ansi-dark, ansi-light, or another theme of Textual.", flag=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatKeysConfig:
    """Keys, comma-separated, by Textual's names: `ctrl+x`, `f7`, `escape`; empty is the key of the help screen."""

    send: str = option("", "Send.", flag=False)
    newline: str = option("", "New line.", flag=False)
    history: str = option("", "Search earlier prompts.", flag=False)
    complete: str = option("", "Complete a command; else to the messages.", flag=False)
    editor: str = option("", "Write in $EDITOR.", flag=False)
    stop: str = option("", "Stop the answer; back to the prompt.", flag=False)
    copy: str = option("", "Copy what is selected, else stop; twice: leave.", flag=False)
    leave: str = option("", "Leave, when the prompt is empty.", flag=False)
    help: str = option("", "Help.", flag=False)
    side: str = option("", "Settings.", flag=False)
    tree: str = option("", "Branches.", flag=False)
    compare: str = option("", "Compare checkpoints.", flag=False)
    samples: str = option("", "Several answers.", flag=False)
    microscope: str = option("", "Tokens of the answer.", flag=False)
    palette: str = option("", "Every command.", flag=False)
    new: str = option("", "New conversation.", flag=False)
    model: str = option("", "Another model.", flag=False)
    load: str = option("", "Conversations.", flag=False)
    older: str = option("", "The answer or question before, of the same place.", flag=False)
    newer: str = option("", "The one after.", flag=False)
    previous: str = option("", "Message above.", flag=False)
    next: str = option("", "Message below.", flag=False)
    retry: str = option("", "Answer once more.", flag=False)
    edit: str = option("", "Edit and ask again.", flag=False)
    yank: str = option("", "Copy the message.", flag=False)
    code: str = option("", "Copy its code.", flag=False)
    good: str = option("", "Thumb up.", flag=False)
    bad: str = option("", "Thumb down.", flag=False)
    tokens: str = option("", "Its tokens.", flag=False)
    fold: str = option("", "Open or fold tool calls.", flag=False)

    @property
    def chosen(self) -> dict[str, str]:
        """The keys that somebody chose, by what they do."""
        values = {field.name: str(getattr(self, field.name)) for field in fields(self)}
        return {name: value for name, value in values.items() if value}
