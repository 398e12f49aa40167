"""How `nanochat chat` opens its screen: with what it needs, and nothing that would hold up the first frame."""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from nanochat.commands.options import current_settings
from nanochat.config.chat import ChatConfig
from nanochat.config.load import build

if TYPE_CHECKING:
    from nanochat.engine.backend import ChatBackend
    from nanochat.runtime.paths import Paths

Served = Callable[[str | None], "ChatBackend"]

ROWS = 5  # one conversation, and four answers in a grid
COMPARED_ROWS = 1


def open_screen(paths: Paths, model: str | None, config: ChatConfig, served: Served | None) -> None:
    """Talk on a screen until somebody leaves it.

    Args:
        paths: where models and conversations are.
        model: a selector; None is the newest.
        config: how to sample, and where to compute.
        served: makes a backend for a model of another server; None where the model is ours.

    Raises:
        UsageError: a selector, a key or a setting that cannot be read.
    """
    if served is None and model:
        from nanochat.checkpoints.selector import parse_selector

        parse_selector(model)
    gc.disable()  # its cycles cost the first frame 40 ms of 360
    from nanochat.chats.store import FILE
    from nanochat.config.chat_screen import ChatKeysConfig, ChatScreenConfig
    from nanochat.engine.client import Worker
    from nanochat.engine.messages import Order
    from nanochat.tui.chat.app import ChatApp
    from nanochat.tui.chat.base import Opening

    settings = current_settings()
    screen = build(ChatScreenConfig, "chat.screen", {}, settings)
    keys = build(ChatKeysConfig, "chat.keys", {}, settings).value

    def another(name: str | None, rows: int = COMPARED_ROWS) -> ChatBackend:
        if served is not None:
            return served(name)
        threads = 0 if rows > COMPARED_ROWS else max(1, (os.cpu_count() or 1) // 2)  # they compute at the same time
        order = Order(paths=paths, selector=name, device=config.device, dtype=config.dtype, rows=rows, threads=threads)
        return Worker(replace(order, tool=config.tool))

    backend = another(model, ROWS)

    def on_shown() -> None:
        gc.freeze()  # what the first frame needed stays; from now on the collector looks at the rest
        gc.enable()
        if isinstance(backend, Worker):
            backend.order = replace(backend.order, selector=_place(paths, model))

    opening = Opening(
        backend=backend,
        another=another,
        config=config,
        system=config.system or "",
        store=paths.base / FILE,
        keymap=keys.chosen,
        theme="" if screen.origins["theme"].kind == "default" else screen.value.theme,
        unsafe_exec=config.unsafe_exec,
        on_shown=on_shown,
    )
    app = ChatApp(opening)
    with _screen_of_its_own():
        app.run()
    if app.return_code:  # it broke: Textual has printed the trace
        raise SystemExit(app.return_code)


@contextmanager
def _screen_of_its_own() -> Iterator[None]:
    """Only the screen writes to the terminal: what the model's process says on stderr would stand in the middle of it.

    It goes to a file that no one else sees; a trace in it, which is a bug, is shown when the screen is gone.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    before = sys.stderr, sys.__stderr__
    with tempfile.TemporaryFile() as said, os.fdopen(terminal, "w", encoding="utf-8", closefd=False) as stream:
        os.dup2(said.fileno(), 2)
        sys.stderr = sys.__stderr__ = stream  # type: ignore[misc]
        try:
            yield
        finally:
            stream.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            sys.stderr, sys.__stderr__ = before  # type: ignore[misc]
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
            if "Traceback" in text:
                click.echo(text, err=True)


def _place(paths: Paths, model: str | None) -> str | None:
    """The full name of what is going to be loaded, without reading any of it; the loader says what is wrong with it."""
    from nanochat.checkpoints.selector import candidates, describe_place
    from nanochat.errors import NanochatError

    try:
        return describe_place(candidates(paths, model)[0]) if model is None or "@" in model else model
    except NanochatError:
        return model
