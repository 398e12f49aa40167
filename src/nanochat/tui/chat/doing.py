"""What was sent becomes a command or a message; commands are methods `do_{name}` that take the rest of the line, keys
are actions that mostly do the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from nanochat.chats.export import FORMATS
from nanochat.chats.tree import spoken
from nanochat.errors import NanochatError, UsageError
from nanochat.tui.chat.conversing import TOOL_WORDS, path_of
from nanochat.tui.chat.registry import Command, find, matching, nearest
from nanochat.tui.chat.showing import Showing
from nanochat.tui.chat.side import SPECS, setting_name
from nanochat.tui.chat.turn import Turn

QUIT_AGAIN_S = 2.0
SETTING_COMMANDS = {
    "temp": "temperature",
    "top-k": "top_k",
    "top-p": "top_p",
    "min-p": "min_p",
    "seed": "seed",
    "max-tokens": "max_new_tokens",
}
BARE_WORDS = ("quit", "exit", ":q")
_COMMAND = re.compile(r"/[a-zA-Z?+-]*( |$)")  # and not /etc/fstab


class Doing(Showing):
    """The chat as far as it can be told what to do."""

    async def take_prompt(self, text: str) -> None:
        """A line that was sent: a command, or a message."""
        line = text.strip()
        if not line:
            return
        if (_COMMAND.match(line) and "\n" not in line) or line in BARE_WORDS:
            await self.do(line.removeprefix("/"))
        elif self.busy:
            self.say("an answer is on its way; Esc stops it", "warning")
            self.prompt.put(text + self.prompt.text)
        else:
            edited = self.editing
            self.show_editing(None)
            try:
                await self.ask(text if self.talk.kind == "plain" else text.strip("\n"), edited)
            except NanochatError as error:
                self.say_error(error)
                self.prompt.put(text + self.prompt.text)

    async def do(self, line: str) -> None:
        """Run a command; what is wrong with it is said."""
        name, _, rest = line.partition(" ")
        found = matching(name)
        command = find(name) or (found[0] if len(found) == 1 else None)
        if command is None:
            self.say(f"there is no /{name}{nearest(name)}; /help has them all", "warning")
            self.prompt.put(f"/{line}{self.prompt.text}")
            return
        try:
            if command.needs and not rest.strip():
                raise UsageError(f"/{command.name} needs {command.takes}", command.usage)
            if command.name in SETTING_COMMANDS:
                self.set_sampling(SETTING_COMMANDS[command.name], rest)
                return
            result = getattr(self, "do_" + command.name.replace("-", "_"))(rest.strip())
            if asyncio.iscoroutine(result):
                await result
        except NanochatError as error:
            self.say_error(error)

    def from_palette(self, command: Command) -> None:
        """Run a command, or begin to type it where it needs more."""
        if command.takes:
            self.prompt.put(f"/{command.name} ")
            self.prompt.focus()
        else:
            self.run_worker(self.do(command.name), group="command")

    def values(self, command: Command, word: str) -> Sequence[tuple[str, str]]:
        """What can follow a command: (value, what it is)."""
        if command.completes == "model":
            return [(name, "") for name in self.known_models()]
        if command.completes == "setting":
            return [(setting_name(name) + " ", spec.help) for name, spec in SPECS.items()]
        if command.completes == "format":
            return [(name, f"*{suffix}") for name, suffix in FORMATS.items()]
        if command.completes == "theme":
            return [(name, "") for name in sorted(self.available_themes)]
        if command.completes == "tool":
            return list(TOOL_WORDS.items())
        return _files(word) if command.completes == "file" else []

    # keys

    async def action_stop(self) -> None:
        """Stop the answer; else leave what is being edited, else go back to the prompt."""
        if self.stop_answer():
            return
        if self.prompt.completing:
            self.prompt.completing = False
            self.screen.query_one("#completions").display = False
        elif self.editing is not None:
            self.show_editing(None)
            self.prompt.clear_all()
        else:
            self.transcript.anchor()
        self.prompt.focus()

    def action_interrupt(self) -> None:
        """Copy what is selected, else stop the answer; twice: leave."""
        selected = self.screen.get_selected_text() or self.prompt.selected_text
        if selected:
            self.copy(selected, "what was selected")
            self.screen.clear_selection()
            return
        if self.stop_answer():
            return
        if time.monotonic() - self._interrupted_at < QUIT_AGAIN_S:
            self.exit()
        self._interrupted_at = time.monotonic()
        self.prompt.clear_all()
        self.say("once more leaves")

    def action_leave(self) -> None:
        """Leave, when nothing is being written; else delete to the right, as elsewhere."""
        if self.prompt.text:
            self.prompt.action_delete_right()
        else:
            self.exit()

    def action_editor(self) -> None:
        """Write the prompt in the user's editor."""
        wanted = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        try:
            editor = shlex.split(wanted) or ["vi"]
        except ValueError as error:
            self.say(f"{wanted} is no command: {error}; set EDITOR", "error")
            return
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "prompt.md"
            path.write_text(self.prompt.whole, encoding="utf-8")
            try:
                code = self.run_editor([*editor, str(path)])
            except OSError as error:
                self.say(f"{editor[0]} cannot be started: {error.strerror}; set EDITOR", "error")
                return
            if code:
                self.say(f"{editor[0]} ended with {code}; the prompt is as it was", "warning")
                return
            self.prompt.put(path.read_text(encoding="utf-8", errors="replace").rstrip("\n"))
        self.prompt.focus()

    def run_editor(self, command: list[str]) -> int:
        """The editor has the terminal until it ends; its exit code."""
        import subprocess

        with self.suspend():
            code = subprocess.run(command, check=False).returncode
        self.refresh(layout=True)
        return code

    async def action_sibling(self, step: int) -> None:
        """The answer or question beside this one."""
        node = self._turn_node()
        other = self.talk.beside(node, step) if node is not None else None
        if other is not None:
            await self.go(other.id)

    def action_step(self, step: int) -> None:
        """The message above or below."""
        shown = self.transcript.turns
        focused = self.screen.focused
        at = shown.index(focused) + step if isinstance(focused, Turn) and focused in shown else len(shown) - 1
        if at >= len(shown):
            self.prompt.focus()
        elif at >= 0:
            shown[at].focus()

    async def action_retry(self) -> None:
        """Answer this once more."""
        await self.do("retry")

    async def action_edit(self) -> None:
        """Edit this question, or that of this answer."""
        await self.do("edit")

    def action_yank(self) -> None:
        """Copy this message."""
        if (node := self._turn_node()) is not None:
            self.copy(spoken(node.message), "the message")

    def action_yank_code(self) -> None:
        """Copy the code of this message."""
        node = self._turn_node()
        try:
            if node is not None:
                self.copy_code(node)
        except NanochatError as error:
            self.say_error(error)

    def action_rate(self, rating: int) -> None:
        """Thumb up or down."""
        node = self._turn_node()
        if node is not None and node.message.role == "assistant":
            self._rate(node, rating)

    async def action_tokens(self) -> None:
        """Look at this answer token by token."""
        await self.do("logprobs")

    def action_fold(self) -> None:
        """Open or fold the calls of tools of this message."""
        if isinstance(focused := self.screen.focused, Turn):
            focused.fold()

    async def action_help(self) -> None:
        """Commands and keys."""
        await self.do("help")

    async def action_side(self) -> None:
        """The side panel."""
        await self.do("side")

    async def action_tree(self) -> None:
        """The branches."""
        await self.do("tree")

    async def action_compare(self) -> None:
        """Side by side."""
        await self.do("compare")

    async def action_sample(self) -> None:
        """Several answers."""
        await self.do("sample")

    async def action_logprobs(self) -> None:
        """Token by token."""
        await self.do("logprobs")

    async def action_new(self) -> None:
        """Another conversation."""
        await self.do("new")

    async def action_model(self) -> None:
        """Another model."""
        await self.do("model")

    async def action_load(self) -> None:
        """Earlier conversations."""
        await self.do("load")


def _files(word: str) -> list[tuple[str, str]]:
    """Files and folders whose path begins so."""
    path = path_of(word)
    folder = path if word.endswith("/") or not word else path.parent
    try:
        found = sorted(folder.iterdir())[:200]
    except OSError:
        return []
    head = word if word.endswith("/") else word[: len(word) - len(path.name)] if word else ""
    return [
        (head + each.name + ("/" if _is_folder(each) else ""), "") for each in found if not each.name.startswith(".")
    ]


def _is_folder(path: Path) -> bool:
    with contextlib.suppress(OSError):  # nobody may look there
        return path.is_dir()
    return False
