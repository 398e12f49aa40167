"""Screens over the conversation, the panes beside it, and colours."""

from __future__ import annotations

import itertools
from typing import Any

from nanochat.chats.tree import Node
from nanochat.engine.backend import ChatBackend
from nanochat.errors import UsageError
from nanochat.tui.chat.branches import Branches
from nanochat.tui.chat.filing import Filing


class Showing(Filing):
    """The chat as far as other screens and panes go."""

    # other screens

    def do_help(self, rest: str = "") -> None:
        """Commands and keys."""
        from nanochat.tui.chat.help import Help

        self.push_screen(Help(self.opening.keymap or {}))

    def do_compare(self, rest: str = "") -> None:
        """The last question side by side."""
        from nanochat.tui.chat.compare import Compare, choice

        user = self.talk.last("user")
        if user is None:
            raise UsageError("nothing was asked yet", "ask something, then compare")
        models = rest.split() or choice(self.known_models(), self.talk.model)
        if not models:
            raise UsageError("there is nothing to compare", "name models: /compare d12:base d12:sft")
        self.stop_answer()

        async def chosen(answer: Any) -> None:
            if answer is not None:
                message, figures, model = answer
                node = self.talk.keep(user, message, figures, model, rating=1)
                self.talk.go(node.id)
                await self.show_talk()

        question = self.talk.question(user)

        def another(name: str) -> ChatBackend:
            backend = self.opening.another(name)
            if self.backend.tool is not None:
                backend.use_tool(self.backend.tool)
            return backend

        self.push_screen(Compare(another, models, self.known_models(), question), chosen)

    def do_sample(self, rest: str = "") -> None:
        """Several answers; the best is picked."""
        from nanochat.tui.chat.samples import COUNT, Samples

        user = self.talk.last("user")
        if user is None:
            raise UsageError("nothing was asked yet", "ask something, then sample")
        try:
            count = int(rest or COUNT)
        except ValueError:
            raise UsageError(f"{rest!r} is no number of answers", "/sample 4") from None
        if not 2 <= count <= 9:
            raise UsageError(f"{count} answers cannot be shown; 2 to 9 can", "/sample 4")
        self.stop_answer()

        async def chosen(picked: Any) -> None:
            if picked is None:
                return
            best, ends = picked
            kept = None
            for at, (message, figures) in enumerate(ends):
                node = self.talk.keep(user, message, figures, self.talk.model, rating=1 if at == best else 0)
                kept = node if at == best else kept
            if kept is not None:
                self.talk.go(kept.id)
                await self.show_talk()

        self.push_screen(Samples(self.backend, self.talk.question(user, samples=count)), chosen)

    def do_logprobs(self, rest: str = "") -> None:
        """An answer token by token."""
        self.examine(self._answer())

    def examine(self, node: Node) -> None:
        """Look at an answer token by token; an alternative may be gone on with."""
        from nanochat.tui.chat.microscope import Microscope

        if not self.backend.local:
            raise UsageError("other servers do not tell what they could have said", "use a model of your own")
        self.stop_answer()
        user = self.talk.tree.nodes.get(node.parent or 0)
        plain = self.talk.kind == "plain"
        messages = () if plain or user is None else self.talk.messages(user.id)

        async def forked(prefix: tuple[int, ...] | None) -> None:
            if prefix is not None and user is not None:
                await self.answer_to(user, prefix)

        told = self.tokens.get(node.id, ())
        parts = itertools.takewhile(lambda part: part.kind == "text", node.message.parts)  # up to the call of a tool
        text = "".join(part.text for part in parts)
        self.push_screen(Microscope(self.backend, text, messages, told, fork=not plain), forked)

    # panes

    def do_tree(self, rest: str = "") -> None:
        """Show or hide the branches."""
        branches = self.screen_stack[0].query_one("#branches", Branches)
        branches.toggle_class("shown")
        self.show_branches()
        if branches.has_class("shown"):
            branches.focus()
        else:
            self.prompt.focus()

    def do_side(self, rest: str = "") -> None:
        """Show or hide the side panel."""
        self.side.toggle_class("shown")
        self.side.show_settings(self.talk.config, self.talk.system)
        if not self.side.has_class("shown"):
            self.prompt.focus()

    def do_theme(self, rest: str = "") -> None:
        """Other colours."""
        if not rest:
            rest = "light" if self.theme == "dark" else "dark"
        if rest not in self.available_themes:
            raise UsageError(f"there is no theme {rest!r}", "/theme light, or TAB for all of them")
        self.theme = rest
        if not self.opening.theme:
            self.store.remember("theme", rest)
        elif self.opening.theme != rest:
            self.say(f"until you leave: the configuration says theme = {self.opening.theme!r}")

    def do_quit(self, rest: str = "") -> None:
        """Leave."""
        self.exit()
