"""The screen of the chat under a pilot: opened on a scripted model, looked at as text."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from scripted_chat import ScriptedBackend
from textual.pilot import Pilot

from nanochat.chats.store import ChatStore
from nanochat.config.chat import SamplingConfig
from nanochat.tokenizer.conversation import Message
from nanochat.tui.chat.app import ChatApp
from nanochat.tui.chat.base import Opening


@contextlib.asynccontextmanager
async def opened(
    backend: ScriptedBackend | None = None, size: tuple[int, int] = (90, 28), **more: Any
) -> AsyncIterator[tuple[ChatApp, Pilot[None]]]:
    """The screen, once its model is there (or not, where that was wanted)."""
    backend = backend or ScriptedBackend()
    given: dict[str, Any] = {"another": lambda name: ScriptedBackend([[f"from {name}"]], place=name), **more}
    app = ChatApp(Opening(backend=backend, config=given.pop("config", SamplingConfig()), **given))
    async with app.run_test(size=size) as pilot:
        if not backend.loading and not backend.trouble:
            await until(pilot, lambda: app.loaded)
        yield app, pilot


async def until(pilot: Pilot[None], condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for something to be so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, screen(pilot.app)  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
    await pilot.pause()


async def send(app: ChatApp, pilot: Pilot[None], text: str) -> None:
    """Write and send, and wait for the answer."""
    app.prompt.focus()
    app.prompt.insert(text)
    await pilot.press("enter")
    await quiet(app, pilot)


async def command(app: ChatApp, pilot: Pilot[None], line: str) -> None:
    """A slash command, past the list of completions."""
    await app.take_prompt(line)
    await pilot.pause()
    await quiet(app, pilot)


async def quiet(app: ChatApp, pilot: Pilot[None]) -> None:
    """Wait until nothing is being answered."""
    await pilot.pause()
    await until(pilot, lambda: not app.busy)


def screen(app: ChatApp) -> str:
    """What stands on the screen."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips) + "\n"


def notices(app: ChatApp) -> str:
    """What was said in passing."""
    return "\n".join(notice.message for notice in app._notifications)


def long_chat(store: Path, turns: int) -> int:
    """A chat of so many questions and answers, kept in a new file; its number there."""
    chats = ChatStore(store)
    chat, parent = chats.create(), None
    for number in range(turns):
        parent = chats.add(chat.id, parent, Message.text("user", f"question {number}")).id
        parent = chats.add(chat.id, parent, Message.text("assistant", f"answer {number}")).id
    chats.close()
    return chat.id


def run(test: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))  # type: ignore[arg-type]


def contents(app: ChatApp) -> list[str]:
    """The messages on the branch."""
    return [node.message.content for node in app.talk.path]
