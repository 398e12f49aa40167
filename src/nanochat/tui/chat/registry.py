"""Every command and every key, once: help, palette, completion, footer and bindings are made of these tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nanochat.config.load import closest

Completes = Literal["", "model", "setting", "file", "chat", "format", "theme", "tool"]
Where = Literal["anywhere", "prompt", "message"]


@dataclass(frozen=True, slots=True)
class Command:
    """A slash command.

    Attributes:
        name: without the slash.
        takes: what follows it, for people; empty for nothing.
        help: what it does, without a full stop.
        aliases: other names that do the same.
        completes: what TAB offers after it.
    """

    name: str
    takes: str
    help: str
    aliases: tuple[str, ...] = ()
    completes: Completes = ""

    @property
    def usage(self) -> str:
        """How it is typed."""
        return f"/{self.name} {self.takes}".strip()

    @property
    def needs(self) -> bool:
        """Whether it does nothing without an argument."""
        return bool(self.takes) and not self.takes.startswith("[")


@dataclass(frozen=True, slots=True)
class Key:
    """A key.

    Attributes:
        id: what `[chat.keys]` of the configuration calls it.
        keys: those it is by default, comma-separated, by Textual's names.
        does: name of the action.
        help: what it does; a word or two.
        where: where it is felt.
        footer: what the last line calls it; empty where it is not there.
    """

    id: str
    keys: str
    does: str
    help: str
    where: Where = "anywhere"
    footer: str = ""


COMMANDS: tuple[Command, ...] = (
    Command("help", "", "commands and keys", ("?",)),
    Command("new", "[chat|plain]", "begin another conversation; plain goes on with text, for base models", ("clear",)),
    Command("model", "[MODEL]", "talk to another model or checkpoint", ("checkpoint",), "model"),
    Command("system", "[TEXT]", "set the system prompt, - removes it"),
    Command("set", "NAME VALUE", "change a setting of sampling", (), "setting"),
    Command("temp", "NUMBER", "temperature: 0 takes the likeliest token", ("temperature",)),
    Command("top-k", "N|none", "sample from this many likeliest tokens only"),
    Command("top-p", "NUMBER|none", "sample from the tokens that hold this much probability"),
    Command("min-p", "NUMBER|none", "sample from tokens with this share of the likeliest one's probability"),
    Command("seed", "N|none", "make answers repeatable"),
    Command("max-tokens", "N", "longest answer"),
    Command("retry", "", "answer the last question once more; both answers are kept", ("regen",)),
    Command("edit", "", "change the last question and ask again; both are kept"),
    Command("tree", "", "show or hide the branches of this conversation", ("branch",)),
    Command("compare", "[MODEL ...]", "the last question side by side, over checkpoints or steps", (), "model"),
    Command("sample", "[N]", "several answers to the last question; pick the best"),
    Command("logprobs", "", "look at the last answer token by token; fork at one", ("microscope",)),
    Command("good", "", "thumb up for the last answer", ("+",)),
    Command("bad", "", "thumb down for the last answer", ("-",)),
    Command("bpb", "[FILE]", "bits per byte of a file, or of the last answer", (), "file"),
    Command("stats", "", "what the last answer cost"),
    Command("context", "", "how full the context is"),
    Command("tool", "[NAME|open|fold]", "what the model may call: calculator, python, none", ("tools",), "tool"),
    Command("read", "FILE", "put the text of a file into the prompt", (), "file"),
    Command("copy", "[code|all]", "copy the last answer, its code, or the conversation"),
    Command("save", "[TITLE]", "name this conversation; it is kept in any case", ("rename",)),
    Command("load", "[WORDS]", "go on with another; F2 renames, Delete deletes there", ("resume",), "chat"),
    Command("search", "WORDS", "find messages in all conversations"),
    Command("export", "[md|json|sft|preferences] [FILE]", "write this conversation to a file", (), "format"),
    Command("import", "FILE", "read conversations from JSON", (), "file"),
    Command("side", "", "show or hide system prompt and sampling"),
    Command("theme", "[NAME]", "other colours", (), "theme"),
    Command("quit", "", "leave", ("exit", "bye", "q")),
)

KEYS: tuple[Key, ...] = (
    Key("send", "enter", "send", "send", "prompt"),
    Key("newline", "shift+enter,alt+enter,ctrl+j", "newline", "new line", "prompt"),
    Key("history", "ctrl+r", "history", "search earlier prompts", "prompt"),
    Key("complete", "tab", "complete", "complete a command; else to the messages", "prompt"),
    Key("editor", "ctrl+o", "editor", "write in $EDITOR"),
    Key("stop", "escape", "stop", "stop the answer; back to the prompt", footer="stop"),
    Key("copy", "ctrl+c", "interrupt", "copy what is selected, else stop; twice: leave"),
    Key("leave", "ctrl+d", "leave", "leave, when the prompt is empty", footer="quit"),
    Key("help", "f1", "help", "help", footer="help"),
    Key("side", "f2", "side", "settings", footer="settings"),
    Key("tree", "f3", "tree", "branches", footer="branches"),
    Key("compare", "f4", "compare", "compare checkpoints"),
    Key("samples", "f5", "sample", "several answers"),
    Key("microscope", "f6", "logprobs", "tokens of the answer"),
    Key("palette", "ctrl+p", "command_palette", "every command", footer="commands"),
    Key("new", "ctrl+n", "new", "new conversation", footer="new"),
    Key("model", "ctrl+l", "model", "another model"),
    Key("load", "ctrl+t", "load", "conversations", footer="conversations"),
    Key("older", "left_square_bracket", "sibling(-1)", "the answer or question before, of the same place", "message"),
    Key("newer", "right_square_bracket", "sibling(1)", "the one after", "message"),
    Key("previous", "up,k", "step(-1)", "message above", "message"),
    Key("next", "down,j", "step(1)", "message below", "message"),
    Key("retry", "r", "retry", "answer once more", "message"),
    Key("edit", "e", "edit", "edit and ask again", "message"),
    Key("yank", "c,y", "yank", "copy the message", "message"),
    Key("code", "C", "yank_code", "copy its code", "message"),
    Key("good", "plus", "rate(1)", "thumb up", "message"),
    Key("bad", "minus", "rate(-1)", "thumb down", "message"),
    Key("tokens", "l", "tokens", "its tokens", "message"),
    Key("fold", "enter,space", "fold", "open or fold tool calls", "message"),
)


def find(name: str) -> Command | None:
    """A command by its name or another name it has."""
    return next((command for command in COMMANDS if name == command.name or name in command.aliases), None)


def nearest(name: str) -> str:
    """`; did you mean /temp?` for a name that is none, or "" when nothing is near."""
    return closest(name, [command.name for command in COMMANDS], "/{}")


def matching(beginning: str) -> list[Command]:
    """Commands whose name or other name begins so; those whose name does come first."""
    named = [command for command in COMMANDS if command.name.startswith(beginning)]
    others = [
        command
        for command in COMMANDS
        if command not in named and any(alias.startswith(beginning) for alias in command.aliases)
    ]
    return named + others


def keys_in(where: Where) -> Iterable[Key]:
    """The keys that are felt somewhere."""
    return [key for key in KEYS if key.where == where]


def key_name(keys: str) -> str:
    """The first of some keys, as people write it: `Ctrl+R`, `[`."""
    names = {
        "left_square_bracket": "[",
        "right_square_bracket": "]",
        "plus": "+",
        "minus": "-",
        "escape": "Esc",
    }
    key = keys.split(",")[0].strip()
    if key in names:
        return names[key]
    parts = key.split("+")
    return "+".join(part if len(part) == 1 and len(parts) == 1 else part.capitalize() for part in parts)
