"""Files, the clipboard, and the lists of what was kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.chats.export import FORMATS, export
from nanochat.chats.tree import Node, spoken
from nanochat.errors import NanochatError, UsageError
from nanochat.runtime.files import atomic_write_bytes, translate_os_errors
from nanochat.runtime.safe_text import safe_line, safe_text
from nanochat.tui.chat.conversing import Conversing, path_of, read_text

if TYPE_CHECKING:
    from nanochat.chats.search import Hit

MAX_IMPORT_BYTES = 100_000_000


class Filing(Conversing):
    """The chat as far as what was kept goes."""

    # files and the clipboard

    def do_read(self, rest: str) -> None:
        """Put the text of a file into the prompt."""
        self.prompt.fold_in(read_text(rest), f"read {safe_line(Path(rest).name)}")
        self.prompt.focus()

    def do_copy(self, rest: str = "") -> None:
        """Copy an answer, its code, or the conversation."""
        if rest == "all":
            self.copy(export(self.store, self.chat_kept(), "md"), "the conversation")
        elif rest == "code":
            self.copy_code(self._answer())
        elif rest:
            raise UsageError(f"/copy takes code or all, not {rest!r}", "/copy code")
        else:
            self.copy(spoken(self._answer().message), "the answer")

    def copy_code(self, node: Node) -> None:
        """Copy the blocks of code of a message."""
        from nanochat.tui.chat.prose import Prose

        blocks = Prose(spoken(node.message)).code_blocks()
        if not blocks:
            raise UsageError("there is no code in this message", "/copy copies all of it")
        self.copy("\n".join(blocks).rstrip("\n"), "its code")

    def copy(self, text: str, what: str) -> None:
        """To the clipboard, by the terminal itself (OSC 52), and by a program of the system where there is one."""
        from nanochat.tui.chat.clipboard import copy

        text = safe_text(text)
        self.copy_to_clipboard(text)
        tool = copy(text)
        self.say(f"copied {what}, {len(text):,} characters" + (f", by {tool} too" if tool else ""))

    def do_export(self, rest: str) -> None:
        """Write the conversation to a file."""
        form, _, name = rest.partition(" ")
        form, name = form or "md", name.strip()
        chat = self.chat_kept()
        text = export(self.store, chat, form)
        path = path_of(name) if name else _free(f"chat-{chat.id}", FORMATS[form])
        with translate_os_errors(path):
            if path.exists() or path.is_symlink():
                raise UsageError(f"{path} exists already", "give another name, or none for one that is free")
        atomic_write_bytes(path, text.encode("utf-8", "replace"))  # half of a surrogate pair may be in it
        self.say(f"written to {path}")

    async def do_import(self, rest: str) -> None:
        """Read conversations from JSON."""
        from nanochat.chats.importing import chats_from_json

        made = chats_from_json(self.store, read_text(rest, MAX_IMPORT_BYTES), Path(rest).name)
        if made:
            self.leave_answer()
            self.talk.open(made[-1].id)
            await self.show_talk()
        self.say(f"{len(made)} conversations were read" if len(made) != 1 else "the conversation was read")

    def do_save(self, rest: str) -> None:
        """Name the conversation."""
        chat = self.chat_kept()
        if rest:
            self.talk.rename(rest)
            self.show_head()
        self.say(f"kept as “{rest or chat.title}”")

    # lists

    def do_load(self, rest: str = "") -> None:
        """Go on with another conversation."""
        from nanochat.tui.chat.lists import chat_lines
        from nanochat.tui.chat.picker import Picker

        self.push_screen(
            Picker(
                "Conversations",
                lambda typed: chat_lines(self.store, typed),
                rest,
                rename=self.store.rename,
                delete=self.delete_chat,
            ),
            self.opened,
        )

    def delete_chat(self, id: int) -> None:
        """Remove a conversation; where it is the one that is shown, begin another."""
        shown = self.talk.chat is not None and self.talk.chat.id == id
        if shown:
            self.leave_answer()
        self.store.delete(id)
        if shown:
            self.talk.begin(self.talk.kind)
            self.run_worker(self.show_talk(), group="show")

    async def opened(self, id: int | None) -> None:
        """A conversation was chosen."""
        if id is not None:
            self.leave_answer()
            self.talk.open(id)
            await self.show_talk()

    def do_search(self, rest: str) -> None:
        """Find messages."""
        from nanochat.chats.search import search
        from nanochat.tui.chat.lists import hit_lines
        from nanochat.tui.chat.picker import Picker

        self.push_screen(Picker("Messages", lambda typed: hit_lines(search(self.store, typed)), rest), self.found)

    async def found(self, hit: Hit | None) -> None:
        """A message was chosen."""
        if hit is not None:
            self.leave_answer()
            self.talk.open(hit.chat, hit.node)
            await self.show_talk(self.talk.tree.nodes.get(hit.node))

    def do_model(self, rest: str) -> None:
        """Talk to another model: the one that is named, or one from a list."""
        from nanochat.tui.chat.lists import narrowed
        from nanochat.tui.chat.picker import Picker

        if rest:
            self.switch(rest)
            return
        names = self.known_models()

        def chosen(name: str | None) -> None:
            try:
                if name is not None:
                    self.switch(name)
            except NanochatError as error:
                self.say_error(error)

        self.push_screen(Picker("Talk to", lambda typed: narrowed(names[::-1], typed)), chosen)

    def pick_prompt(self) -> None:
        """Search earlier prompts."""
        from nanochat.tui.chat.lists import prompt_lines
        from nanochat.tui.chat.picker import Picker

        prompts = self.store.prompts()

        def chosen(text: str | None) -> None:
            if text is not None:
                self.prompt.put(text)

        self.push_screen(Picker("Earlier prompts", lambda typed: prompt_lines(prompts, typed)), chosen)


def _free(stem: str, suffix: str) -> Path:
    """A name in the present folder that no file has."""
    number = 1
    while (path := Path.cwd() / f"{stem}{'' if number == 1 else f'-{number}'}{suffix}").exists():
        number += 1
    return path
