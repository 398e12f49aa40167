"""A question and two answers to it, as files of preferences have them: either answer with its question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanochat.errors import ConversationError

ANSWERS = ("chosen", "rejected")
_PROMPTS = ("messages", "conversations", "prompt", "question", "instruction", "input")


def with_answer(value: Mapping[str, Any], key: str) -> list[Any]:
    """The messages of the question and the answer under `key`, as they stand.

    Raises:
        ConversationError: the question or the answer is neither text nor messages.
    """
    return _joined(_question(value), value[key])


def _question(value: Mapping[str, Any]) -> list[Any]:
    """The messages before the answers; none where the answers are whole conversations."""
    for key in _PROMPTS:
        if key not in value:
            continue
        if isinstance(text := value[key], str):
            messages: list[Any] = [{"role": "user", "content": text}]
        elif isinstance(text, list):
            messages = list(text)
        else:
            raise ConversationError(f"{key} is text or a list of messages")
        system = value.get("system")
        if isinstance(system, str) and system.strip() and not (messages and _role(messages[0]) == "system"):
            messages.insert(0, {"role": "system", "content": system})
        return messages
    return []


def _joined(question: Sequence[Any], answer: Any) -> list[Any]:
    """The question and one of its answers as one conversation."""
    if isinstance(answer, str):
        return [*question, {"role": "assistant", "content": answer}]
    if isinstance(answer, Mapping):
        return [*question, answer]
    if not isinstance(answer, list):
        raise ConversationError("it is text, a message or a list of messages")
    if answer and _role(answer[0]) in ("system", "user", "human"):
        return answer  # with the question in front
    return [*question, *answer]


def _role(message: Any) -> Any:
    return message.get("role", message.get("from")) if isinstance(message, Mapping) else None
