"""`nanochat chat --plain`: a conversation line by line, for terminals, pipes and screen readers alike."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanochat.commands.chat_printers import Printer
from nanochat.config.chat import TOOLS, SamplingConfig
from nanochat.config.fields import options_of
from nanochat.errors import NanochatError, UsageError

if TYPE_CHECKING:
    from nanochat.engine.client import RemoteSession
    from nanochat.engine.events import TurnFinished

HISTORY_LINES = 1000
FENCE = '"""'  # opens and closes a text of several lines
_SETTINGS = {spec.name: spec for spec in options_of(SamplingConfig)}


class Lines:
    """A conversation that is typed.

    Args:
        session: with whom.
        printer: shows answers.
        tokens: whether the printer wants every token.
        unsafe_exec: whether programs of the model may be run where the sandbox is weak.
    """

    def __init__(
        self, session: RemoteSession, printer: Printer, *, tokens: bool = False, unsafe_exec: bool = False
    ) -> None:
        self.session = session
        self.printer = printer
        self._wants_tokens = tokens
        self._unsafe_exec = unsafe_exec
        self._last: TurnFinished | None = None
        self.commands: dict[str, tuple[str, str, Callable[[str], object]]] = {
            "help": ("", "this list", self._help),
            "new": ("", "start over", self._new),
            "retry": ("", "answer the last question anew", self._retry),
            "system": ("TEXT", "what goes before the first message; none for nothing", self._system),
            "set": ("NAME VALUE", "how to sample; alone: what can be set", self._set),
            "model": ("MODEL", "go on with another model", self._model),
            "tool": ("NAME", "what the model may call; alone: which that is", self._tool),
            "context": ("", "how full the context is", self._context),
            "stats": ("", "figures of the last answer", self._stats),
            "quit": ("", "leave", self._quit),
        }

    def run(self) -> None:
        """Read and answer until the end of the input or /quit."""
        try:
            while True:
                self._turn()
        except _Leave:
            return
        except EOFError:
            if sys.stdin.isatty():
                click.echo(err=True)

    def _turn(self) -> None:
        """One line and what it leads to."""
        try:
            self.take(_read_message())
        except KeyboardInterrupt:  # at the prompt it only clears the line
            click.echo(err=True)
        except NanochatError as error:
            self.printer.end_line()
            _tell(f"error: {error.message}")
            _tell(f"hint: {error.hint}")

    def take(self, line: str) -> None:
        """Answer a message, or do what a command says."""
        word, _, rest = line.partition(" ")
        if not (word.startswith("/") and word[1:].isalpha()):
            if line:
                self._answer(line)
            return
        name = {"exit": "quit", "bye": "quit", "clear": "new"}.get(word[1:], word[1:])
        if name not in self.commands:
            close = difflib.get_close_matches(name, self.commands, n=1)
            _tell(f"there is no {word}; {f'did you mean /{close[0]}? ' if close else ''}/help lists what there is")
            return
        self.commands[name][2](rest.strip())

    def _answer(self, text: str) -> None:
        """Print the answer as it comes. Interrupted, the part that was said stays in the conversation."""
        from nanochat.engine.events import TurnFinished

        self._last = None
        try:
            with closing(self.session.ask(text, tokens=self._wants_tokens)) as events:  # type: ignore[type-var]
                for event in events:
                    self.printer.show(event)
                    if isinstance(event, TurnFinished):
                        self._last = event
        except KeyboardInterrupt:
            self.printer.end_line()
            _tell("stopped")

    def _help(self, rest: str) -> None:
        for name, (argument, meaning, _) in self.commands.items():
            _tell(f"  {f'/{name} {argument}':<18} {meaning}")
        _tell(f"  {FENCE:<18} begins and ends a text of several lines; Ctrl-C stops an answer, Ctrl-D leaves")

    def _new(self, rest: str) -> None:
        self.session.reset()
        _tell("a new conversation")

    def _retry(self, rest: str) -> None:
        before = self.session.messages
        question = self.session.take_back()
        if question is None:
            _tell("nothing has been asked yet")
            return
        try:
            self._answer(question)
        finally:
            if len(self.session.messages) < len(before):  # stopped before its first word, or failed
                self.session.restore(before)

    def _system(self, rest: str) -> None:
        if rest:
            self.session.system = None if rest == "none" else rest
        _tell(f"system: {self.session.system or 'none'}")

    def _set(self, rest: str) -> None:
        if not rest:
            for name, spec in _SETTINGS.items():
                _tell(f"  {name:<18} {spec.to_text(getattr(self.session.config, name))}")
            return
        name, _, value = rest.partition(" ")
        name = name.lstrip("-").replace("-", "_")
        name = {"temp": "temperature", "max_tokens": "max_new_tokens"}.get(name, name)
        if name not in _SETTINGS:
            raise UsageError(f"there is no setting {name!r}", f"there are {', '.join(_SETTINGS)}")
        if value:
            try:
                number = _SETTINGS[name].from_text(value.strip())
            except ValueError as error:
                raise UsageError(f"{name}: {error}", "/set shows what is set") from None
            self.session.config = replace(self.session.config, **{name: number})
        _tell(f"{name}: {_SETTINGS[name].to_text(getattr(self.session.config, name))}")

    def _model(self, rest: str) -> None:
        from nanochat.console.words import safe

        backend = self.session.backend
        if rest:
            backend.switch(rest)
            _tell(f"model: {safe(backend.name)}")
        else:
            for name in backend.models():
                _tell(f"  {safe(name)}")

    def _tool(self, rest: str) -> None:
        backend = self.session.backend
        if rest:
            if rest not in TOOLS:
                raise UsageError(f"there is no tool {rest!r}", f"there are {', '.join(TOOLS)}")
            if rest == "python" and backend.local and not self._unsafe_exec:
                from nanochat.runtime.sandbox.run import require_isolation

                require_isolation()
            backend.use_tool(rest)
        _tell(f"tool: {backend.tool or 'that of the server'}")

    def _context(self, rest: str) -> None:
        use = self.session.backend.count(self.session.messages)
        forgotten = f"; the oldest turns ({use.forgotten}) have no room" if use.forgotten else ""
        _tell(f"{use.used:,} of {use.limit:,} tokens{forgotten}")

    def _stats(self, rest: str) -> None:
        if self._last is None:
            _tell("there is no answer that came to its end")
            return
        last = self._last
        _tell(
            f"{last.tokens:,} tokens at {last.tokens_per_s:.0f} tok/s, the first after "
            f"{1000 * last.time_to_first_token_s:.0f} ms; {last.prompt_tokens:,} before them; {last.stop_reason}"
        )

    def _quit(self, rest: str) -> None:
        raise _Leave


class _Leave(Exception):
    """The person wants to go."""


@contextmanager
def line_history(path: Path, commands: list[str]) -> Iterator[None]:
    """Arrow keys, earlier lines and TAB, where Python has readline; lines are kept in a file of the user's own."""
    try:
        import readline
    except ImportError:  # Windows
        yield
        return
    if not sys.stdin.isatty():
        yield
        return

    def complete(text: str, state: int) -> str | None:
        found = [f"/{name} " for name in commands if f"/{name}".startswith(text)] if text.startswith("/") else []
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" ")
    readline.parse_and_bind("tab: complete")
    with suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with suppress(OSError):
            path.touch(mode=0o600)
            readline.write_history_file(path)


def _read_message() -> str:
    """A line, or the lines between two fences."""
    line = _read_line("> ")
    if not line.lstrip().startswith(FENCE):
        return line.strip()
    text = line.lstrip().removeprefix(FENCE)
    while FENCE not in text:
        text += "\n" + _read_line(". ")
    return text.partition(FENCE)[0].strip()


def _read_line(prompt: str) -> str:
    if not sys.stdin.isatty():
        return input()
    if sys.stdout.isatty():
        return input(prompt)
    click.echo(prompt, nl=False, err=True)  # stdout is for answers
    return input()


def _tell(line: str) -> None:
    click.echo(line, err=True)
