"""`nanochat chat`: one answer on stdout, or a conversation."""

from __future__ import annotations

import functools
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import click

from nanochat.commands.chat_printers import JsonLinesPrinter, JsonPrinter, Printer, TextPrinter
from nanochat.commands.models import complete_selector
from nanochat.commands.options import base_dir_option, config_options
from nanochat.config.chat import MAX_TOP_LOGPROBS, ChatConfig
from nanochat.config.load import Resolved
from nanochat.errors import UsageError

if TYPE_CHECKING:
    from nanochat.engine.backend import ChatBackend, Question
    from nanochat.engine.engine import Engine
    from nanochat.engine.events import SessionEvent
    from nanochat.runtime.paths import Paths

BASE_NOTICE = "a base model has learnt no conversations; --complete goes on from a text as it stands"
PATIENCE_S = 3.0  # with a pipe that says nothing, before a person is told what is waited for


@click.command()
@click.argument("model", required=False, shell_complete=complete_selector)
@click.option(
    "-p", "--prompt", metavar="TEXT", help="Answer this and leave; text on stdin goes behind it. - reads stdin alone."
)
@click.option("--complete", is_flag=True, help="Go on from the text as it stands, as base models do.")
@config_options(ChatConfig, "chat")
@base_dir_option
@click.option("--plain", is_flag=True, help="A conversation line by line.")
@click.option("--json", "as_json", is_flag=True, help="Print an object for each answer when it is complete.")
@click.option("--jsonl", "as_lines", is_flag=True, help="Print every event as an object on a line of its own.")
@click.option(
    "--logprobs",
    type=click.IntRange(0, MAX_TOP_LOGPROBS),
    metavar="COUNT",
    help="With --json or --jsonl: every token, with as many alternatives.",
)
@click.option("--stream/--no-stream", default=True, help="Print an answer while it comes.", show_default=True)
@click.option("--raw", is_flag=True, help="Print control characters as they are; not to a terminal.")
def chat(
    model: str | None,
    prompt: str | None,
    complete: bool,
    config: Resolved[ChatConfig],
    base_dir: str | None,
    plain: bool,
    as_json: bool,
    as_lines: bool,
    logprobs: int | None,
    stream: bool,
    raw: bool,
) -> None:
    """Talk to a model.

    MODEL is TAG, TAG:STAGE or TAG:STAGE@STEP; nothing means the newest. With -p, or with text on standard
    input, it answers once on standard output. Else it is a conversation: /help lists what can be said, Ctrl-C
    stops an answer.
    """
    from nanochat.runtime.paths import resolve_paths

    if raw and sys.stdout.isatty():
        raise UsageError(
            "--raw is not for terminals: what a model says could act on yours", "pipe it: ... --raw | cat -v"
        )
    if as_json and as_lines:
        raise UsageError("--json is one object, --jsonl an event a line", "choose one of them")
    if logprobs is not None and not (as_json or as_lines):
        raise UsageError("--logprobs has no place in text", "add --json or --jsonl")
    once = prompt is not None or complete or not (plain or sys.stdin.isatty())
    text = _read_prompt(prompt) if once else ""
    for said in (sys.stdout, sys.stderr):
        if hasattr(said, "reconfigure"):
            said.reconfigure(errors="replace")  # an emoji in an ASCII terminal is no reason to stop
    printer: Printer = TextPrinter(stream=stream, raw=raw)
    if as_json or as_lines:
        printer = JsonPrinter() if as_json else JsonLinesPrinter()
    paths = resolve_paths(base_dir, os.environ)
    if config.value.tool == "python" and not config.value.unsafe_exec:
        from nanochat.runtime.sandbox.run import require_isolation

        require_isolation()
    if once:
        question = _question(text, config.value, logprobs, complete=complete)
        _print_answer(_answer(paths, model, config.value, question), printer)
    elif _is_screen(plain=plain or as_json or as_lines):
        from nanochat.commands.chat_screen import open_screen

        served = functools.partial(_open_backend, paths, config=config.value) if config.value.url is not None else None
        open_screen(paths, model, config.value, served)
    else:
        _converse(_open_backend(paths, model, config.value), config.value, paths, printer, logprobs)


def _is_screen(*, plain: bool) -> bool:
    """Whether there is a terminal that can be drawn on, and nobody wants less."""
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return terminal and not plain


def _read_prompt(prompt: str | None) -> str:
    """The text of -p, that of standard input, or both, with an empty line between them."""
    if prompt is None or prompt == "-":
        prompt = _read_stdin()
    elif _is_fed():
        prompt = "\n\n".join(filter(None, (prompt, _read_stdin())))
    if not prompt.strip():
        raise UsageError("the prompt is empty", 'nanochat chat -p "What is the capital of Japan?"')
    return prompt


def _is_fed() -> bool:
    """Whether standard input is a pipe or a file: anything else (a terminal, /dev/null, a socket) says nothing."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError, AttributeError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _read_stdin() -> str:
    waiting = threading.Timer(
        PATIENCE_S, click.echo, ("notice: waiting for standard input to end; < /dev/null is none",), {"err": True}
    )
    waiting.daemon = True
    if not sys.stdin.isatty():
        waiting.start()
    try:
        return sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\r\n")
    finally:
        waiting.cancel()


def _question(text: str, config: ChatConfig, logprobs: int | None, *, complete: bool) -> Question:
    """What is asked once."""
    from dataclasses import replace

    from nanochat.engine.backend import Question
    from nanochat.tokenizer.conversation import Message

    config = replace(config, top_logprobs=logprobs or 0)
    if complete:
        return Question(text=text, config=config, tokens=logprobs is not None)
    system = (Message.text("system", config.system),) if config.system else ()
    messages = (*system, Message.text("user", text))
    return Question(messages=messages, config=config, tokens=logprobs is not None)


def _print_answer(events: Iterator[SessionEvent], printer: Printer) -> None:
    with closing(events):  # type: ignore[type-var]
        try:
            for event in events:
                printer.show(event)
        finally:
            printer.end_line()


def _answer(paths: Paths, model: str | None, config: ChatConfig, question: Question) -> Iterator[SessionEvent]:
    """The events of one answer: of a server, or of an engine in this process, which is there sooner than another."""
    if config.url is not None:
        from nanochat.engine.events import TextDelta, Tokens

        said = told = False
        for event in _open_backend(paths, model, config).ask(question):
            said = said or isinstance(event, TextDelta)
            told = told or isinstance(event, Tokens)
            yield event
        if question.tokens and said and not told:
            _notice("this server sends no log-probabilities")
        return
    from nanochat.engine.answering import answer

    engine, stage = _open_engine(paths, model, config)
    if stage == "base" and question.text is None:
        _notice(BASE_NOTICE)
    yield from answer(engine, question)


def _open_engine(paths: Paths, model: str | None, config: ChatConfig) -> tuple[Engine, str]:
    """An engine for one answer, and the stage of its model."""
    from nanochat.checkpoints.selector import resolve

    resolve(paths, model)  # a missing model is said before torch is loaded
    import torch

    from nanochat.engine.load import load_engine
    from nanochat.runtime.devices import pick_device

    dtype = None if config.dtype == "auto" else getattr(torch, config.dtype)
    device = pick_device(config.device)
    engine, checkpoint = load_engine(paths, model, device, dtype, _notice, rows=1, tool=config.tool)
    return engine, checkpoint.path.parent.name


def _open_backend(paths: Paths, model: str | None, config: ChatConfig) -> ChatBackend:
    """A model of a server, or one in a process of its own; not started.

    Raises:
        MissingError: there is no such model.
        UsageError: no such variable for a key, or a URL that cannot be read.
    """
    if config.url is not None:
        from nanochat.engine.elsewhere import ServerBackend

        key = os.environ.get(config.api_key_env)
        if key is None and config.api_key_env != ChatConfig().api_key_env:
            raise UsageError(f"there is no environment variable {config.api_key_env}", "set it to the server's key")
        return ServerBackend(config.url, model or "", key or "", config.api_key_env)
    from nanochat.checkpoints.selector import describe_place, resolve
    from nanochat.engine.client import Worker
    from nanochat.engine.messages import Order

    place = describe_place(resolve(paths, model, _notice))
    return Worker(Order(paths=paths, selector=place, device=config.device, dtype=config.dtype, tool=config.tool))


def _converse(backend: ChatBackend, config: ChatConfig, paths: Paths, printer: Printer, logprobs: int | None) -> None:
    """A conversation line by line with a model that loads while the first line is typed."""
    from dataclasses import replace

    from nanochat.commands.chat_lines import Lines, line_history
    from nanochat.console.words import safe
    from nanochat.engine.client import RemoteSession

    backend.start()
    try:
        session = RemoteSession(backend, replace(config, top_logprobs=logprobs or 0), config.system)
        lines = Lines(session, printer, tokens=logprobs is not None, unsafe_exec=config.unsafe_exec)
        if sys.stdin.isatty():
            click.echo(f"{safe(backend.name)}; /help lists what can be said, /quit leaves", err=True)
            if backend.local and ":base@" in backend.name:
                _notice(BASE_NOTICE)
        with line_history(paths.base / "chat_history", list(lines.commands)):
            lines.run()
    finally:
        backend.close()


def _notice(line: str) -> None:
    click.echo(f"notice: {line}", err=True)
