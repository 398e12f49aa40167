"""What every part of the screen stands on: its state, the model that loads beside it, and lines that say something."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.text import Text
from textual.actions import ActionParseResult
from textual.app import App
from textual.dom import DOMNode
from textual.widgets import Static
from textual.worker import WorkerFailed

from nanochat.chats.store import ChatStore
from nanochat.chats.tree import Node
from nanochat.config.chat import SamplingConfig
from nanochat.engine.backend import ChatBackend, ContextUse, Loaded
from nanochat.errors import NanochatError
from nanochat.runtime.safe_text import safe_line
from nanochat.tui.chat.branches import Branches
from nanochat.tui.chat.prompt import Prompt
from nanochat.tui.chat.side import Side
from nanochat.tui.chat.talk import Talk
from nanochat.tui.chat.telling import Telling, tell
from nanochat.tui.chat.terminal_keys import teach
from nanochat.tui.chat.themes import THEMES
from nanochat.tui.chat.transcript import Transcript

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Opening:
    """What the screen begins with.

    Attributes:
        backend: answers; not started.
        another: makes one more backend, for a model by its name: side by side.
        config: how to sample.
        system: text before the first message.
        store: the file of conversations; None keeps none.
        keymap: keys by the id of what they do.
        theme: name of the colours; empty for those that were chosen last.
        unsafe_exec: whether programs of the model may be run where the sandbox is weak.
        notice: a line to begin with: why conversations are not kept.
        on_shown: called once, when the first frame stands or before the first question, whichever is sooner.
    """

    backend: ChatBackend
    another: Callable[[str], ChatBackend]
    config: SamplingConfig
    system: str = ""
    store: Path | None = None
    keymap: Mapping[str, str] | None = None
    theme: str = ""
    unsafe_exec: bool = False
    notice: str = ""
    on_shown: Callable[[], None] | None = None


class ChatBase(Telling, App[None]):
    """State and services of the chat.

    Args:
        opening: what it begins with.
    """

    def __init__(self, opening: Opening) -> None:
        super().__init__()
        teach()
        self.opening = opening
        self.backend = opening.backend
        self.notice_lines = [opening.notice] if opening.notice else []
        self.store = self._open_store(opening.store)
        self.talk = Talk(self.store, opening.config, opening.system)
        self.talk.model = opening.backend.name
        self.loaded: Loaded | None = None
        self.trouble: NanochatError | None = None
        self.use: ContextUse | None = None
        self.editing: Node | None = None
        self._on_shown = opening.on_shown
        self._interrupted_at = 0.0
        self._by_itself = False  # whether nobody but the model has wanted plain text
        for theme in THEMES:
            self.register_theme(theme)
        wanted = opening.theme or self._remembered("theme")
        self.theme = self._colours = wanted if wanted in self.available_themes else THEMES[0].name
        self.stylesheet.set_variables(self.get_css_variables())
        self.set_keymap(dict(opening.keymap or {}))

    # parts

    @property
    def transcript(self) -> Transcript:
        """The messages."""
        return self.screen_stack[0].query_one("#transcript", Transcript)

    @property
    def prompt(self) -> Prompt:
        """Where one writes."""
        return self.screen_stack[0].query_one("#prompt", Prompt)

    @property
    def side(self) -> Side:
        """The side panel."""
        return self.screen_stack[0].query_one("#side", Side)

    def show_branches(self) -> None:
        """The pane of branches, if it is there."""
        for branches in self.screen_stack[0].query(Branches):  # none before the first frame
            if branches.has_class("shown"):
                branches.show(self.talk.tree, self.talk.leaf)

    def show_head(self) -> None:
        """The first line: the model, its state, the context, the conversation."""
        width = max(1, self.size.width - 2)
        loaded = self.loaded
        left = Text.assemble((safe_line(loaded.place if loaded else self.backend.name), "bold"))
        if self.trouble is not None:
            left.append("  cannot be loaded" if loaded is None else "  ended", "red")
        elif loaded is None:
            left.append("  loading…", "dim")
        elif loaded.device:
            left.append(f"  {safe_line(loaded.device)}", "dim")
        if self.talk.kind == "plain":
            left.append("  plain text", "yellow")
        right = Text()
        if self.use is not None and self.use.limit:
            share = self.use.used / self.use.limit
            right.append(f"{self.use.used:,}/{self.use.limit:,} tokens", "red" if share > 0.9 else "dim")
        title = self.talk.chat.title if self.talk.chat else ""
        room = width - left.cell_len - right.cell_len - 4
        if title and room > 12:
            middle = Text(f"  {safe_line(title)}", "dim")
            middle.truncate(room, overflow="ellipsis")
            left.append_text(middle)
        left.truncate(max(1, width - right.cell_len - 1), overflow="ellipsis")
        head = Text.assemble(left, " " * max(1, width - left.cell_len - right.cell_len), right, no_wrap=True)
        self.screen_stack[0].query_one("#head", Static).update(head)
        wrong = self.trouble.message if self.trouble else ""
        self.side.show_model(loaded, self.backend.name, wrong, self.backend.tool)
        self.side.show_context(self.use)
        trouble = self.screen_stack[0].query_one("#trouble", Static)
        trouble.display = self.trouble is not None and self.loaded is None
        if self.trouble is not None:
            lines = [safe_line(line) for line in (self.trouble.message, self.trouble.hint) if line]
            trouble.update(Text("\n".join(lines), "bold"))

    # as it starts

    def refresh_css(self, animate: bool = True) -> None:
        """Other colours. Textual asks for them once as it starts too, and the style sheet has been read with them."""
        if self._colours != self.theme:
            super().refresh_css(animate)
        self._colours = ""

    def prepare(self) -> None:
        """What the model needs and the first frame does not wait for; keys that were typed ahead may be sooner."""
        on_shown, self._on_shown = self._on_shown, None
        if on_shown is not None:
            on_shown()
            self.talk.model = self.backend.name
        self._start_helper()

    def _start_helper(self) -> None:
        """Python starts it with the first process, and hands it stderr, which must be a file: the screen's is none."""
        from multiprocessing.resource_tracker import ensure_running

        with contextlib.redirect_stderr(sys.__stderr__):
            ensure_running()

    # work that takes time

    def in_thread(self, work: Callable[[], T], then: Callable[[T], Any], group: str) -> None:
        """Do something that waits, then take its result; what goes wrong with it is said."""

        async def job() -> None:
            try:
                result = await asyncio.to_thread(work)
            except NanochatError as error:
                self.say_error(error)
            else:
                if self.screen_stack[0].query("#transcript"):  # or the screen is being left
                    then(result)

        self.run_worker(job, group=group, exclusive=True)  # type: ignore[arg-type]  # as its documentation has it

    def say(self, text: str, severity: str = "information") -> None:
        """A line that goes away by itself; foreign text in it does nothing."""
        self.notify(safe_line(text), severity=severity, markup=False, timeout=6)  # type: ignore[arg-type]

    def say_error(self, error: NanochatError) -> None:
        """What happened and what to do next."""
        tell(self, error)

    async def run_action(
        self,
        action: str | ActionParseResult,
        default_namespace: DOMNode | None = None,
        namespaces: Mapping[str, DOMNode] | None = None,
    ) -> bool:
        """What a key does; what is wrong with it is said."""
        try:
            return await super().run_action(action, default_namespace, namespaces)
        except NanochatError as error:
            self.say_error(error)
            return True

    # Timers, and what is called when a screen is left, come here alone: there is no public place for their errors.
    def _handle_exception(self, error: Exception) -> None:
        cause = error.error if isinstance(error, WorkerFailed) else error
        if isinstance(cause, NanochatError) and self.is_running:
            self.say_error(cause)
        else:
            super()._handle_exception(error)

    def load(self) -> None:
        """Begin to load the model; the screen goes on meanwhile."""
        self.loaded, self.trouble, self.use = None, None, None
        self.show_head()
        backend = self.backend

        def work() -> Loaded | NanochatError | None:
            try:
                backend.start()
                return backend.wait()
            except NanochatError as error:
                return error

        def then(result: Loaded | NanochatError | None) -> None:
            if backend is not self.backend:
                return
            if isinstance(result, NanochatError):
                self.trouble = result
            elif result is not None:
                self.take_model(result)
            self.show_head()

        self.in_thread(work, then, "load")

    def take_model(self, loaded: Loaded) -> None:
        """The model is there."""
        self.loaded, self.trouble = loaded, None
        self.talk.model = loaded.place
        for line in loaded.notices:
            self.say(line, "warning")
        if ":base@" in loaded.place and self.talk.chat is None and self.talk.kind == "chat":
            self.talk.begin("plain")
            self._by_itself = True
            self.say("a base model goes on with text; /new chat speaks to it as if it could converse")
        elif self._by_itself and self.talk.chat is None and ":base@" not in loaded.place:
            self.talk.begin("chat")
            self._by_itself = False
        self.count_context()

    def count_context(self) -> None:
        """Ask how full the context is now."""
        messages = self.talk.messages(self.talk.leaf)
        if not self.backend.local or self.talk.kind == "plain" or not self.talk.path:
            return
        backend = self.backend

        def then(use: ContextUse) -> None:
            self.use = use
            self.transcript.forget(use.forgotten)
            self.show_head()

        self.in_thread(lambda: backend.count(messages), then, "count")

    # within

    def _remembered(self, name: str) -> str:
        with contextlib.suppress(NanochatError):  # the file broke meanwhile: what asks for more of it says so
            return self.store.setting(name)
        return ""

    def _open_store(self, path: Path | None) -> ChatStore:
        try:
            return ChatStore(path)
        except NanochatError as error:
            self.notice_lines.append(f"conversations are not kept: {error.message}")
            return ChatStore(None)
