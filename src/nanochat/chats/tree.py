"""A conversation as a tree: an edited question or another answer stands beside the first one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from nanochat.tokenizer.conversation import Message

ChatKind = Literal["chat", "plain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chat:
    """A conversation, without its messages.

    Attributes:
        title: the beginning of its first question, or what a person named it.
        model: the checkpoint that spoke last, `d12:sft@650`.
        system: text that goes before the first message, "" for none.
        kind: `plain` is text that a base model goes on with, without the form of a conversation.
        leaf: the node it was left at; None while it is empty.
        created: unix seconds.
        changed: unix seconds.
    """

    id: int
    title: str
    model: str
    system: str
    kind: ChatKind
    leaf: int | None
    created: float
    changed: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One message of a tree.

    Attributes:
        parent: the message it follows; None for a first question.
        model: the checkpoint that said it, "" for a person.
        figures: what is known of an answer: `tokens`, `tokens_per_s`, `time_to_first_token_s`, `prompt_tokens`,
            `stop_reason`; empty while it is being given, and after a crash in its middle.
        settings: how it was sampled.
        rating: 1 for a thumb up or a pick, -1 for a thumb down, 0 for neither.
        created: unix seconds.
    """

    id: int
    parent: int | None
    message: Message
    model: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    rating: int = 0
    created: float = 0.0


def spoken(message: Message) -> str:
    """What a message says to a person: its text without the calls of tools."""
    return "".join(part.text for part in message.parts if part.kind == "text")


class Tree:
    """The messages of one conversation.

    Args:
        nodes: all of them, each after its parent.
    """

    def __init__(self, nodes: Iterable[Node] = ()) -> None:
        self.nodes: dict[int, Node] = {}
        self._children: dict[int | None, list[int]] = {None: []}
        for node in nodes:
            self.put(node)

    def put(self, node: Node) -> None:
        """Add a node, or replace the one with its number."""
        if node.id not in self.nodes:
            self._children.setdefault(node.parent, []).append(node.id)
        self.nodes[node.id] = node

    def __len__(self) -> int:
        """How many messages."""
        return len(self.nodes)

    def __getitem__(self, id: int) -> Node:
        """A node by its number."""
        return self.nodes[id]

    def children(self, id: int | None) -> list[Node]:
        """What follows a node, oldest first; of None, the first questions."""
        return [self.nodes[child] for child in self._children.get(id, [])]

    def path(self, leaf: int | None) -> list[Node]:
        """From the first question to this node."""
        found: list[Node] = []
        while leaf is not None and leaf in self.nodes:
            found.append(self.nodes[leaf])
            leaf = found[-1].parent
        return found[::-1]

    def siblings(self, node: Node) -> list[Node]:
        """All that follow the same message as this one, itself included, oldest first."""
        return self.children(node.parent)

    def leaf_below(self, id: int) -> int:
        """The end of the branch through this node, by its newest messages."""
        while self._children.get(id):
            id = self._children[id][-1]
        return id
