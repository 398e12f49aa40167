"""Conversations from JSON: our own export with its whole tree, or a list of messages as other programs write them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nanochat.chats.export import FORMAT_NAME, FORMAT_VERSION
from nanochat.chats.store import ChatStore
from nanochat.chats.tree import Chat, ChatKind
from nanochat.errors import ConversationError, NanochatError
from nanochat.tokenizer.conversation import Conversation, Message

END_OF_TIME = 253_402_300_800  # unix seconds of the year 10000, which no calendar of Python has
_HINT = "write one with /export json, or give an object with a list of messages"


def chats_from_json(store: ChatStore, text: str, name: str) -> list[Chat]:
    """The conversations of a file: one object, a list of objects, or an object a line.

    Args:
        name: of the file, for messages.

    Raises:
        ConversationError: something in it is no conversation; nothing of the file is kept then.
    """
    values = _values(text, name)
    made: list[Chat] = []
    try:
        for value in values:
            made.append(_one(store, value))
    except (NanochatError, KeyError, TypeError, ValueError, AttributeError) as error:
        for chat in made:
            store.delete(chat.id)
        what = error.message if isinstance(error, NanochatError) else "it is not of a known form"
        raise ConversationError(f"{name}: conversation {len(made) + 1}: {what}", _HINT) from None
    return made


def _values(text: str, name: str) -> list[Any]:
    try:
        value = json.loads(text)
        many = isinstance(value, list) and not (value and isinstance(value[0], Mapping) and "role" in value[0])
        return value if many else [value]
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ConversationError(f"{name} is not JSON: {error}", _HINT) from None


def _one(store: ChatStore, value: Any) -> Chat:
    if isinstance(value, Mapping) and value.get("format") == FORMAT_NAME:
        return _own(store, value)
    conversation = Conversation.from_dict({"messages": value} if isinstance(value, list) else value)
    messages = conversation.messages
    system = messages[0].content if messages[0].role == "system" else ""
    chat = store.create(system=system, title=_text(value.get("title", "")) if isinstance(value, Mapping) else "")
    parent: int | None = None
    for message in messages[1:] if system else messages:
        figures = {"stop_reason": "stop"} if message.role == "assistant" else {}
        parent = store.add(chat.id, parent, message, figures=figures).id
    return store.chat(chat.id)


def _own(store: ChatStore, value: Mapping[str, Any]) -> Chat:
    if value["version"] > FORMAT_VERSION:
        raise ConversationError(f"it was written by a later nanochat (version {value['version']})")
    kind: ChatKind = "plain" if value["kind"] == "plain" else "chat"
    read = [(item, Message.from_dict(item)) for item in value["messages"]]
    known = {item["id"] for item, _ in read}
    if any(item["parent"] is not None and item["parent"] not in known for item, _ in read):
        raise ConversationError("a message follows one that is not in the file")
    chat = store.create(
        model=_text(value["model"]),
        system=_text(value["system"]),
        kind=kind,
        title=_text(value["title"]),
        created=_moment(value.get("created")),
    )
    numbers: dict[Any, int | None] = {None: None}
    try:
        for item, message in sorted(read, key=lambda pair: pair[0]["id"]):
            node = store.add(
                chat.id,
                numbers[item["parent"]],
                message,
                model=_text(item["model"]),
                figures=dict(item["figures"]),
                settings=dict(item["settings"]),
                rating=max(-1, min(1, int(item["rating"]))),
                created=_moment(item.get("created")),
            )
            numbers[item["id"]] = node.id
        store.set_leaf(chat.id, numbers[value["leaf"]])
    except BaseException:
        store.delete(chat.id)
        raise
    return store.chat(chat.id)


def _moment(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 <= value < END_OF_TIME:
        raise ConversationError("a time in it is none")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ConversationError("a name in it is no text")
    return value
