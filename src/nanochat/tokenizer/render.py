"""Conversations to ids and loss masks.

    bos  user_start text user_end  assistant_start text [python_start text python_end output_start text
    output_end text ...] assistant_end  user_start ...

The mask is 1 where the model is to learn what comes: the assistant's text and tool calls with their ends, but
not the tool's answers, which the engine supplies. A system message has no tokens of its own; it is joined to
the first user message with a blank line. Nothing is cropped here: callers know their row length.
"""

from __future__ import annotations

from nanochat.tokenizer.conversation import Conversation, Message, Part
from nanochat.tokenizer.special import (
    ASSISTANT_END,
    ASSISTANT_START,
    OUTPUT_END,
    OUTPUT_START,
    PYTHON_END,
    PYTHON_START,
    USER_END,
    USER_START,
)
from nanochat.tokenizer.tokenizer import Tokenizer


def render(tokenizer: Tokenizer, conversation: Conversation) -> tuple[list[int], list[int]]:
    """A conversation as one training row.

    Returns:
        ids: (N,) token ids, the first is bos.
        mask: (N,) 1 where the token is supervised, else 0.
    """
    ids, mask = [tokenizer.bos], [0]

    def add(tokens: list[int], supervised: int) -> None:
        ids.extend(tokens)
        mask.extend([supervised] * len(tokens))

    for message in _turns(conversation):
        if message.role == "user":
            text = tokenizer.encode(message.content)
            add([tokenizer.special(USER_START), *text, tokenizer.special(USER_END)], 0)
        else:
            add([tokenizer.special(ASSISTANT_START)], 0)
            for part in message.parts:
                add(_part_ids(tokenizer, part), 0 if part.kind == "output" else 1)
            add([tokenizer.special(ASSISTANT_END)], 1)
    return ids, mask


def render_for_completion(tokenizer: Tokenizer, conversation: Conversation) -> list[int]:
    """The prompt for the assistant's next turn, ending in assistant_start.

    A last assistant message is left out: it is the answer that the model's own is compared with.

    Returns:
        (N,) token ids, the first is bos.
    """
    messages = conversation.messages
    if messages[-1].role == "assistant":
        messages = messages[:-1]
    ids, _ = render(tokenizer, Conversation(messages))
    return [*ids, tokenizer.special(ASSISTANT_START)]


def _turns(conversation: Conversation) -> tuple[Message, ...]:
    """The messages with a leading system message joined to the first user message."""
    first, *rest = conversation.messages
    if first.role != "system":
        return conversation.messages
    joined = Message.text("user", f"{first.content}\n\n{rest[0].content}")
    return (joined, *rest[1:])


def _part_ids(tokenizer: Tokenizer, part: Part) -> list[int]:
    text = tokenizer.encode(part.text)
    if part.kind == "python":
        return [tokenizer.special(PYTHON_START), *text, tokenizer.special(PYTHON_END)]
    if part.kind == "output":
        return [tokenizer.special(OUTPUT_START), *text, tokenizer.special(OUTPUT_END)]
    return text
