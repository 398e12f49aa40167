"""`nanochat chat`: one answer on stdout, or a conversation line by line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nanochat.commands.models import complete_selector
from nanochat.commands.options import base_dir_option, config_options, is_plain
from nanochat.config.chat import ChatConfig
from nanochat.config.load import Resolved
from nanochat.errors import ContextError, UsageError

if TYPE_CHECKING:
    from nanochat.engine.client import RemoteSession
    from nanochat.engine.events import SessionEvent
    from nanochat.engine.session import Session
    from nanochat.runtime.paths import Paths

HISTORY_LINES = 1000
CHAT_ROWS = 2  # one conversation, and one that was before it
# C0 and C1 controls but newline and tab: a model must not move the cursor or retitle the window.
_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if code not in (0x0A, 0x09)}


@click.command()
@click.argument("model", required=False, shell_complete=complete_selector)
@click.option("-p", "--prompt", metavar="TEXT", help="Answer this and leave; - reads it from stdin.")
@config_options(ChatConfig, "chat")
@base_dir_option
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines instead of text.")
def chat(
    model: str | None, prompt: str | None, config: Resolved[ChatConfig], base_dir: str | None, as_json: bool
) -> None:
    """Talk to a model.

    MODEL is TAG, TAG:STAGE or TAG:STAGE@STEP; nothing means the newest. With -p, or with text on standard
    input, it answers once on standard output. Else it is a conversation: /new starts over, /quit leaves,
    Ctrl-C stops an answer.
    """
    interactive = prompt is None and sys.stdin.isatty()
    text = None if interactive else _read_prompt(prompt)

    from nanochat.runtime.paths import resolve_paths

    paths = resolve_paths(base_dir, os.environ)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # an emoji in an ASCII terminal is no reason to stop
    printer = _Printer(as_json=as_json)
    if text is not None:
        _answer(_open_session(paths, model, config.value), text, printer)
        return
    with _open_remote(paths, model, config.value) as (session, title):
        click.echo(f"{title}; /new starts over, /quit leaves", err=True)
        with _line_history(paths.base / "chat_history"):
            _converse(session, printer)


def _read_prompt(prompt: str | None) -> str:
    if prompt is None or prompt == "-":
        prompt = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\r\n")
    if not prompt.strip():
        raise UsageError("the prompt is empty", 'nanochat chat -p "What is the capital of Japan?"')
    return prompt


def _open_session(paths: Paths, model: str | None, config: ChatConfig) -> Session:
    """A session in this process, for one answer."""
    from nanochat.checkpoints.selector import resolve

    resolve(paths, model)  # a missing model is said before torch is loaded
    import torch

    from nanochat.engine.load import load_engine
    from nanochat.engine.session import Session
    from nanochat.runtime.devices import pick_device

    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    engine, _ = load_engine(paths, model, pick_device(config.device), dtype, _notice, rows=1)
    return Session(engine, config, config.system)


@contextmanager
def _open_remote(paths: Paths, model: str | None, config: ChatConfig) -> Iterator[tuple[RemoteSession, str]]:
    """A session with a process of its own, which loads while the first question is typed; and with whom."""
    from nanochat.checkpoints.selector import describe_place, resolve
    from nanochat.engine.client import RemoteSession, Worker
    from nanochat.engine.messages import Order

    place = resolve(paths, model, _notice)
    order = Order(paths=paths, selector=describe_place(place), device=config.device, dtype=config.dtype, rows=CHAT_ROWS)
    worker = Worker(order)
    worker.start()
    try:
        yield RemoteSession(worker, config, config.system), describe_place(place)
    finally:
        worker.close()


def _notice(line: str) -> None:
    click.echo(f"notice: {line}", err=True)


def _answer(session: Session | RemoteSession, text: str, printer: _Printer) -> None:
    """Print the answer as it comes. Interrupted, the part that was said stays in the conversation."""
    with closing(session.ask(text)) as events:  # type: ignore[type-var]
        for event in events:
            printer.show(event)


def _converse(session: Session | RemoteSession, printer: _Printer) -> None:
    from nanochat.engine.client import WorkerDied

    while True:
        try:
            line = _read_line().strip()
        except EOFError:
            click.echo(err=True)
            return
        except KeyboardInterrupt:  # at the prompt it only clears the line
            click.echo(err=True)
            continue
        if line == "/quit":
            return
        if line == "/new":
            session.reset()
            click.echo("a new conversation", err=True)
        elif line.startswith("/") and line[1:].isalpha():
            click.echo(f"there is no {line}; /new starts over, /quit leaves", err=True)
        elif line:
            try:
                _answer(session, line, printer)
            except KeyboardInterrupt:
                printer.end_line()
                click.echo("stopped", err=True)
            except (ContextError, WorkerDied) as error:
                printer.end_line()
                click.echo(f"error: {error.message}\nhint: {error.hint}", err=True)


def _read_line() -> str:
    if sys.stdout.isatty():
        return input("> ")
    click.echo("> ", nl=False, err=True)  # stdout is for answers
    return input()


@contextmanager
def _line_history(path: Path) -> Iterator[None]:
    """Arrow keys and earlier lines, where Python has readline; they are kept in a file of the user's own."""
    try:
        import readline
    except ImportError:  # Windows
        yield
        return
    with suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with suppress(OSError):
            path.touch(mode=0o600)
            readline.write_history_file(path)


class _Printer:
    """Shows events: answers on stdout, everything else on stderr, or all of them as JSON lines on stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.mid_line = False

    def show(self, event: SessionEvent) -> None:
        """Print one event."""
        from nanochat.engine.events import ContextTrimmed, TextDelta, ToolUsed

        if self.as_json:
            self._show_json(event)
        elif isinstance(event, TextDelta):
            text = printable(event.text)
            click.echo(text, nl=False)
            sys.stdout.flush()
            self.mid_line = not text.endswith("\n") if text else self.mid_line
        elif isinstance(event, ToolUsed):
            result = "nothing" if event.result is None else event.result
            self._note(f"[calculator: {event.expression} = {result}]")
        elif isinstance(event, ContextTrimmed):
            self.end_line()
            click.echo(f"notice: the context is full; forgot the oldest turns ({event.turns})", err=True)
        else:
            self.end_line()

    def end_line(self) -> None:
        """Finish a line of the answer that has been begun."""
        if self.mid_line:
            click.echo()
        self.mid_line = False

    def _note(self, text: str) -> None:
        """A dim line in between, for a person at a terminal only."""
        if not sys.stderr.isatty():
            return
        if self.mid_line and sys.stdout.isatty():
            click.echo(err=True)
        text = printable(text).replace("\n", " ")
        click.echo(text if is_plain(sys.stderr, os.environ) else click.style(text, dim=True), err=True)

    def _show_json(self, event: SessionEvent) -> None:
        from dataclasses import asdict

        names = {
            "TextDelta": "text",
            "ToolUsed": "tool",
            "ContextTrimmed": "trimmed",
            "TurnFinished": "finished",
        }
        click.echo(json.dumps({"event": names[type(event).__name__], **asdict(event)}))
        sys.stdout.flush()


def printable(text: str) -> str:
    """Text that cannot act on a terminal: control characters other than newline and tab are left out."""
    return text.translate(_CONTROLS)
