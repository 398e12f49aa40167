"""A conversation in progress: what is kept of it, where in its tree one stands, and what is asked next.

It knows no screen. Every change is in the store before anything is shown, so that a window that is killed loses at most
the last second of an answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from nanochat.chats.store import ChatStore
from nanochat.chats.tree import Chat, ChatKind, Node, Tree
from nanochat.config.chat import SamplingConfig
from nanochat.engine.backend import Question
from nanochat.engine.events import TurnFinished
from nanochat.tokenizer.conversation import Message, Part

KEEP_EVERY_S = 1.0  # how often a growing answer is written down
FIGURES = ("tokens", "tokens_per_s", "time_to_first_token_s", "prompt_tokens", "stop_reason")
_KEPT_SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "max_new_tokens")


class Talk:
    """One conversation.

    Args:
        store: keeps it.
        config: how to sample; may be replaced at any time.
        system: text before the first message of new conversations.
    """

    def __init__(self, store: ChatStore, config: SamplingConfig, system: str = "") -> None:
        self.store = store
        self.config = config
        self.system = self._usual = system
        self.kind: ChatKind = "chat"
        self.chat: Chat | None = None  # none before the first question: what was never said is not kept
        self.tree = Tree()
        self.leaf: int | None = None
        self.model = ""
        self._kept_at = 0.0

    # where one stands

    @property
    def path(self) -> list[Node]:
        """The branch that is shown."""
        return self.tree.path(self.leaf)

    @property
    def text(self) -> str:
        """The branch as plain text, for a base model."""
        return "".join(node.message.content for node in self.path)

    def messages(self, leaf: int | None) -> tuple[Message, ...]:
        """The branch to a node as a model is asked with it."""
        system = (Message.text("system", self.system),) if self.system else ()
        return (*system, *(node.message for node in self.tree.path(leaf)))

    def last(self, role: str) -> Node | None:
        """The last message of one side, on the branch that is shown."""
        return next((node for node in reversed(self.path) if node.message.role == role), None)

    def go(self, leaf: int | None) -> None:
        """Stand somewhere else in the tree."""
        self.leaf = leaf
        if self.chat is not None:
            self.store.set_leaf(self.chat.id, leaf)

    def beside(self, node: Node, step: int) -> Node | None:
        """The sibling so many places further on; None where there is none."""
        siblings = self.tree.siblings(node)
        at = [each.id for each in siblings].index(node.id) + step
        return siblings[at] if 0 <= at < len(siblings) else None

    # conversations

    def begin(self, kind: ChatKind = "chat") -> None:
        """An empty conversation."""
        self.system = self._usual
        self.chat, self.tree, self.leaf, self.kind = None, Tree(), None, kind

    def open(self, chat_id: int, node: int | None = None) -> None:
        """Go on with one that was kept, where it was left or at a node.

        Raises:
            MissingError: it was deleted.
        """
        chat = self.store.chat(chat_id)
        self.chat, self.tree = chat, self.store.tree(chat_id)
        self.system, self.kind = chat.system, chat.kind
        self.leaf = self.tree.leaf_below(node) if node in self.tree.nodes else chat.leaf

    def set_system(self, system: str) -> None:
        """Change the text before the first message, of this conversation and of new ones."""
        self.system = self._usual = system
        if self.chat is not None:
            self.store.set_system(self.chat.id, system)

    def rename(self, title: str) -> None:
        """Give this conversation a title; it has to hold something."""
        if self.chat is not None:
            self.store.rename(self.chat.id, title)
            self.chat = self.store.chat(self.chat.id)

    # what is said

    def say(self, text: str, parent: int | None) -> Node:
        """Keep a question (or text to go on from) after a node, and stand there."""
        if self.chat is None:
            self.chat = self.store.create(model=self.model, system=self.system, kind=self.kind)
        node = self.store.add(self.chat.id, parent, Message.text("user", text))
        self._put(node)
        self.leaf = node.id
        self.chat = self.store.chat(self.chat.id)  # the first question is its title
        return node

    def question(self, user: Node, *, samples: int = 1, prefix: tuple[int, ...] = (), tokens: int = 0) -> Question:
        """What to ask a model so that it answers a node.

        Args:
            samples: answers that are wanted.
            prefix: ids the answer begins with.
            tokens: alternatives that are told with each token; 0 tells no tokens.
        """
        config = replace(self.config, top_logprobs=tokens) if tokens else self.config
        more: dict[str, Any] = {"config": config, "samples": samples, "prefix": prefix, "tokens": tokens > 0}
        if self.kind == "plain":
            return Question(text="".join(node.message.content for node in self.tree.path(user.id)), **more)
        return Question(messages=self.messages(user.id), **more)

    def answer(self, user: Node, said: str, *, stand: bool = True) -> Node:
        """Keep the beginning of an answer, and stand there."""
        assert self.chat is not None
        settings = {name: value for name, value in asdict(self.config).items() if name in _KEPT_SETTINGS}
        message = Message.text("assistant", said)
        node = self.store.add(self.chat.id, user.id, message, model=self.model, settings=settings, leaf=stand)
        self._put(node)
        self._kept_at = time.monotonic()
        if stand:
            self.leaf = node.id
        return node

    def grow(self, node: Node, said: str) -> None:
        """Keep more of an answer, not more often than every `KEEP_EVERY_S`."""
        if time.monotonic() - self._kept_at >= KEEP_EVERY_S:
            self._kept_at = time.monotonic()
            self._put(self.store.amend(node.id, Message.text("assistant", said)))

    def finish(self, node: Node, end: TurnFinished) -> Node:
        """Keep a whole answer with its tool calls and figures."""
        return self._put(self.store.amend(node.id, end.message, {name: getattr(end, name) for name in FIGURES}))

    def break_off(self, node: Node, said: str, why: str) -> Node:
        """Keep what was said of an answer that no one will finish."""
        return self._put(self.store.amend(node.id, _text(said), {"stop_reason": why}))

    def rate(self, node: Node, rating: int) -> Node:
        """Thumb up, down, or neither."""
        return self._put(self.store.rate(node.id, rating))

    def keep(self, user: Node, message: Message, figures: Mapping[str, Any], model: str, rating: int = 0) -> Node:
        """Keep a whole answer that was given elsewhere: in a grid of samples, or side by side."""
        assert self.chat is not None
        return self._put(
            self.store.add(self.chat.id, user.id, message, model=model, figures=figures, rating=rating, leaf=rating > 0)
        )

    def _put(self, node: Node) -> Node:
        self.tree.put(node)
        return node


def figures_of(end: TurnFinished) -> dict[str, Any]:
    """What is kept of the end of an answer."""
    return {name: getattr(end, name) for name in FIGURES}


def _text(said: str) -> Message:
    return Message("assistant", (Part("text", said),))
