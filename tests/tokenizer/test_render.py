from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nanochat.tokenizer.conversation import Conversation, Message, Part
from nanochat.tokenizer.render import render, render_for_completion
from nanochat.tokenizer.special import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

BYTES = Tokenizer({bytes([byte]): byte for byte in range(256)})


def test_reference_conversations(tokenizer: Tokenizer, expected: dict[str, Any]) -> None:
    assert expected["render_conversation"]
    for case in expected["render_conversation"]:
        conversation = Conversation.from_dict(case["conversation"])
        assert render(tokenizer, conversation) == (case["ids"], case["mask"])


def test_reference_prompts(tokenizer: Tokenizer, expected: dict[str, Any]) -> None:
    assert expected["render_for_completion"]
    for case in expected["render_for_completion"]:
        conversation = Conversation.from_dict(case["conversation"])
        assert render_for_completion(tokenizer, conversation) == case["ids"]


def test_layout_and_mask_of_every_part() -> None:
    conversation = Conversation(
        (
            Message.text("system", "S"),
            Message.text("user", "U"),
            Message("assistant", (Part("text", "T"), Part("python", "1"), Part("output", "2"))),
        )
    )
    ids, mask = render(BYTES, conversation)
    assert BYTES.decode(ids) == (
        "<|bos|><|user_start|>S\n\nU<|user_end|><|assistant_start|>T"
        "<|python_start|>1<|python_end|><|output_start|>2<|output_end|><|assistant_end|>"
    )
    supervised = [token for token, learn in zip(ids, mask, strict=True) if learn]
    assert BYTES.decode(supervised) == "T<|python_start|>1<|python_end|><|assistant_end|>"


def test_a_prompt_that_ends_with_the_user_keeps_every_message() -> None:
    asked = Conversation((Message.text("user", "Hi"),))
    answered = Conversation((*asked.messages, Message.text("assistant", "Hello")))
    prompt = render_for_completion(BYTES, asked)
    assert BYTES.decode(prompt) == "<|bos|><|user_start|>Hi<|user_end|><|assistant_start|>"
    assert render_for_completion(BYTES, answered) == prompt
    assert render(BYTES, answered)[0][: len(prompt)] == prompt


@given(st.lists(st.sampled_from(SPECIAL_TOKENS) | st.text(max_size=5)).map("".join))
def test_content_adds_no_special_tokens(text: str) -> None:
    ids, mask = render(BYTES, Conversation((Message.text("user", text), Message.text("assistant", text))))
    assert len(ids) == len(mask)
    assert sum(token >= BYTES.bos for token in ids) == 5
