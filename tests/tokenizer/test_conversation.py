from __future__ import annotations

import subprocess
import sys

import pytest

from nanochat.errors import ConversationError
from nanochat.tokenizer.conversation import Conversation, Message, Part


def of_roles(*roles: str) -> Conversation:
    return Conversation(tuple(Message.text(role, "x") for role in roles))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "roles", [("user",), ("user", "assistant"), ("system", "user"), ("system", "user", "assistant", "user")]
)
def test_good_orders(roles: tuple[str, ...]) -> None:
    assert [message.role for message in of_roles(*roles).messages] == list(roles)


@pytest.mark.parametrize(
    "roles",
    [
        (),
        ("system",),
        ("assistant",),
        ("system", "assistant"),
        ("user", "user"),
        ("user", "system"),
        ("user", "assistant", "assistant"),
        ("system", "system", "user"),
        ("robot",),
    ],
)
def test_bad_orders(roles: tuple[str, ...]) -> None:
    with pytest.raises(ConversationError):
        of_roles(*roles)


def test_the_error_counts_messages_from_one_system_included() -> None:
    with pytest.raises(ConversationError, match="message 3 is from user where assistant must speak"):
        of_roles("system", "user", "user")


@pytest.mark.parametrize("role", ["user", "system"])
@pytest.mark.parametrize("kind", ["python", "output"])
def test_only_the_assistant_uses_tools(role: str, kind: str) -> None:
    with pytest.raises(ConversationError, match=role):
        Message(role, (Part(kind, "1"),))  # type: ignore[arg-type]


def test_dict_form_and_back() -> None:
    data = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1+1?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "python", "text": "1+1"},
                    {"type": "python_output", "text": "2"},
                    {"type": "text", "text": "Two."},
                ],
            },
        ]
    }
    conversation = Conversation.from_dict(data)
    assert conversation.messages[2].parts[1] == Part("output", "2")
    assert conversation.messages[2].content == "1+12Two."
    assert conversation.to_dict() == data


@pytest.mark.parametrize(
    "data",
    [
        {},
        [],
        {"messages": None},
        {"messages": ["hi"]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": "user", "content": ["hi"]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "text": "x"}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]},
        {"messages": [{"role": ["user"], "content": "x"}]},
    ],
)
def test_malformed_input_is_a_conversation_error(data: object) -> None:
    with pytest.raises(ConversationError):
        Conversation.from_dict(data)  # type: ignore[arg-type]


def test_the_module_is_light() -> None:
    code = (
        "import sys, nanochat.tokenizer.conversation, nanochat.tokenizer.special;"
        "assert not {'tiktoken', 'torch', 'numpy', 'nanochat._rustbpe'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
