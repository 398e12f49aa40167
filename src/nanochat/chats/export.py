"""Conversations as files: Markdown for people, JSON with the whole tree, JSONL that `train sft` takes.

`sft` writes what has a thumb up, each answer with what stands before it; a conversation without thumbs is written as it
stands. `preferences` writes pairs of a better and a worse answer to the same question, from thumbs and picks. An answer
that was cut off is in neither, unless it has a thumb.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from nanochat.chats.store import ChatStore
from nanochat.chats.tree import Chat, Node, Tree
from nanochat.errors import UsageError
from nanochat.tokenizer.conversation import Message

FORMATS = {"md": ".md", "json": ".json", "sft": ".jsonl", "preferences": ".jsonl"}
FORMAT_NAME = "nanochat-chat"
FORMAT_VERSION = 1
_NAMES = {"user": "You", "assistant": "Model", "system": "System"}


def export(store: ChatStore, chat: Chat, form: str) -> str:
    """A conversation in one of `FORMATS`.

    Raises:
        UsageError: another format, or nothing that could be written in it.
    """
    tree = store.tree(chat.id)
    if form == "md":
        return markdown(chat, tree)
    if form == "json":
        return json.dumps(as_json(chat, tree), indent=2, ensure_ascii=False) + "\n"
    if form not in FORMATS:
        raise UsageError(f"there is no format {form!r}", f"choose one of {', '.join(FORMATS)}")
    lines = list(sft_lines(chat, tree) if form == "sft" else preference_lines(chat, tree))
    if not lines:
        raise UsageError(*_NOTHING[form])
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


_NOTHING = {
    "sft": ("there is no whole answer in this conversation", "ask something first"),
    "preferences": (
        "no question of this conversation has a better and a worse answer",
        "ask again with /retry, then mark the better answer with + and the worse one with -",
    ),
}


def markdown(chat: Chat, tree: Tree) -> str:
    """The branch it was left at, with calls of tools as code."""
    when = datetime.fromtimestamp(chat.created, UTC).strftime("%Y-%m-%d %H:%M UTC")
    blocks = [f"# {chat.title or 'A conversation'}", f"*{chat.model or 'no model'}, {when}*"]
    if chat.system:
        blocks += ["## System", chat.system]
    for node in tree.path(chat.leaf):
        blocks.append(f"## {_NAMES[node.message.role]}")
        blocks += [_block(part.kind, part.text) for part in node.message.parts if part.text]
    return "\n\n".join(blocks) + "\n"


def as_json(chat: Chat, tree: Tree) -> dict[str, Any]:
    """Everything there is, for `chats_from_json` to read again."""
    return {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "title": chat.title,
        "model": chat.model,
        "system": chat.system,
        "kind": chat.kind,
        "leaf": chat.leaf,
        "created": chat.created,
        "messages": [
            {
                "id": node.id,
                "parent": node.parent,
                **node.message.to_dict(),
                "model": node.model,
                "figures": node.figures,
                "settings": node.settings,
                "rating": node.rating,
                "created": node.created,
            }
            for node in tree.nodes.values()
        ],
    }


def sft_lines(chat: Chat, tree: Tree) -> Iterator[dict[str, Any]]:
    """`{"messages": [...]}`, the last one an answer with a thumb up; else the branch it was left at."""
    liked = [node for node in tree.nodes.values() if node.rating > 0 and _is_answer(node)]
    if not liked:
        path = tree.path(chat.leaf)
        whole = list(takewhile(lambda node: node.message.role != "assistant" or _is_answer(node), path))
        liked = [node for node in whole if _is_answer(node)][-1:]
    for node in liked:
        yield {"messages": _messages(chat, tree.path(node.id))}


def preference_lines(chat: Chat, tree: Tree) -> Iterator[dict[str, Any]]:
    """`{"messages": [...], "chosen": ..., "rejected": ...}`: each thumb up against each thumb down, or against every
    other answer to that question where none has a thumb down.
    """
    for chosen in tree.nodes.values():
        if chosen.rating <= 0 or not _is_answer(chosen):
            continue
        others = [node for node in tree.siblings(chosen) if _is_answer(node) and node.rating <= 0]
        for rejected in [node for node in others if node.rating < 0] or others:
            if rejected.message != chosen.message:
                yield {
                    "messages": _messages(chat, tree.path(chosen.parent)),
                    "chosen": chosen.message.to_dict(),
                    "rejected": rejected.message.to_dict(),
                }


def _messages(chat: Chat, path: list[Node]) -> list[dict[str, Any]]:
    system = [Message.text("system", chat.system).to_dict()] if chat.system else []
    return [*system, *(node.message.to_dict() for node in path)]


def _is_answer(node: Node) -> bool:
    """Whether it is one that a model ended by itself, or that a person has judged as it is."""
    whole = node.rating != 0 or node.figures.get("stop_reason") == "stop"
    return whole and node.message.role == "assistant" and bool(node.message.content.strip())


def _block(kind: str, text: str) -> str:
    if kind == "text":
        return text.strip("\n")
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{'python' if kind == 'python' else ''}\n{text}\n{fence}"
