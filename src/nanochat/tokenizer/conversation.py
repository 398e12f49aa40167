"""Conversations as data: messages of typed parts, checked when they are made.

A conversation may open with one system message; then user and assistant take turns, the user first. Only the
assistant uses tools, so only its messages hold `python` and `output` parts. No tokenizer here: this module is
light enough for every task and front-end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from nanochat.errors import ConversationError

PartKind = Literal["text", "python", "output"]
Role = Literal["system", "user", "assistant"]

_ROLES: tuple[str, ...] = get_args(Role)
# In files the result of a tool is called "python_output".
_KIND_OF_TYPE: dict[str, PartKind] = {"text": "text", "python": "python", "python_output": "output"}
_TYPE_OF_KIND = {kind: name for name, kind in _KIND_OF_TYPE.items()}


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message: `text`, a `python` expression for the tool, or the tool's `output`.

    Raises:
        ConversationError: an unknown kind, or a text that is no string.
    """

    kind: PartKind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in _TYPE_OF_KIND:
            raise ConversationError(f"unknown part {self.kind!r}", "parts are text, python and output")
        if not isinstance(self.text, str):
            raise ConversationError(f"the text of a part must be a string, not {type(self.text).__name__}")


@dataclass(frozen=True, slots=True)
class Message:
    """What one side says in one turn.

    Raises:
        ConversationError: an unknown role, or tool parts outside an assistant message.
    """

    role: Role
    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if self.role not in _ROLES:
            raise ConversationError(f"unknown role {self.role!r}", "roles are system, user and assistant")
        if self.role != "assistant" and any(part.kind != "text" for part in self.parts):
            raise ConversationError(
                f"a {self.role} message holds a python or output part",
                "only assistant messages may use tools",
            )

    @classmethod
    def text(cls, role: Role, text: str) -> Message:
        """A message of one text part."""
        return cls(role, (Part("text", text),))

    @property
    def content(self) -> str:
        """The text of all parts, joined in order."""
        return "".join(part.text for part in self.parts)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Message:
        """From `{"role": ..., "content": ...}`.

        The content is a string, or a list of `{"type": "text" | "python" | "python_output", "text": ...}`.
        """
        if not isinstance(data, Mapping) or "role" not in data or "content" not in data:
            raise ConversationError("a message must be an object with role and content")
        content = data["content"]
        if isinstance(content, str):
            return cls.text(data["role"], content)
        if not isinstance(content, (list, tuple)):
            raise ConversationError(f"content must be a string or a list of parts, not {type(content).__name__}")
        return cls(data["role"], tuple(_part_from_dict(item) for item in content))

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `from_dict`; a single text part becomes a plain string."""
        if len(self.parts) == 1 and self.parts[0].kind == "text":
            return {"role": self.role, "content": self.parts[0].text}
        content = [{"type": _TYPE_OF_KIND[part.kind], "text": part.text} for part in self.parts]
        return {"role": self.role, "content": content}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order: an optional system message, then user and assistant in turn.

    Raises:
        ConversationError: empty, or a role out of turn; the message names the position.
    """

    messages: tuple[Message, ...]

    def __post_init__(self) -> None:
        opening = 1 if self.messages and self.messages[0].role == "system" else 0
        if len(self.messages) == opening:
            raise ConversationError("the conversation has no user message", "it must open with one")
        for position, message in enumerate(self.messages[opening:]):
            expected = "user" if position % 2 == 0 else "assistant"
            if message.role != expected:
                raise ConversationError(
                    f"message {position + opening + 1} is from {message.role} where {expected} must speak",
                    "user and assistant alternate, the user first; only the first message may be system",
                )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conversation:
        """From `{"messages": [...]}`, see `Message.from_dict`. Other keys are ignored."""
        messages = data.get("messages") if isinstance(data, Mapping) else None
        if not isinstance(messages, (list, tuple)):
            raise ConversationError("a conversation must be an object with a list of messages")
        return cls(tuple(Message.from_dict(message) for message in messages))

    def to_dict(self) -> dict[str, Any]:
        """The inverse of `from_dict`."""
        return {"messages": [message.to_dict() for message in self.messages]}


def _part_from_dict(item: Any) -> Part:
    if not isinstance(item, Mapping) or not isinstance(item.get("type"), str) or "text" not in item:
        raise ConversationError("a part must be an object with type and text")
    # Our own names of the kinds are understood as well.
    kind = _KIND_OF_TYPE.get(item["type"], item["type"])
    return Part(kind, item["text"])  # type: ignore[arg-type]  # Part checks it
