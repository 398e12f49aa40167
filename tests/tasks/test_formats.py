"""Every form people keep conversations in becomes ours, and what cannot be learnt is refused with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.errors import ConversationError
from nanochat.tasks.formats import convert, looks_like_turns, to_line
from nanochat.tasks.records import parse
from nanochat.tokenizer.conversation import Conversation, Message

HI = [("user", "Hi"), ("assistant", "Hello!")]


def plain(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in conversation.messages]


def messages(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in pairs]


@pytest.mark.parametrize(
    ("form", "value"),
    [
        ("messages", {"messages": messages(*HI), "id": 7}),
        ("messages", messages(*HI)),
        ("messages", {"messages": messages(("user", [{"type": "text", "text": "Hi"}]), ("assistant", "Hello!"))}),
        ("messages", {"prompt": "Hi", "messages": messages(*HI)}),
        ("messages", {"messages": messages(("system", " "), *HI)}),
        ("sharegpt", {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]}),
        ("messages", {"conversations": messages(*HI)}),
        ("alpaca", {"instruction": "Hi", "input": "", "output": "Hello!"}),
        ("alpaca", {"instruction": "Hi", "context": "", "response": "Hello!", "category": "chat"}),
        ("pairs", {"prompt": "Hi", "response": "Hello!"}),
        ("pairs", {"prompt": "Hi", "completion": "Hello!"}),
        ("pairs", {"question": "Hi", "answer": "Hello!"}),
        ("pairs", ["Hi", "Hello!"]),
        ("preferences", {"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}),
        ("preferences", {"messages": messages(HI[0]), "chosen": messages(HI[1])[0], "rejected": messages(HI[1])[0]}),
        ("preferences", {"chosen": messages(*HI), "rejected": messages(*HI)}),
    ],
)
def test_forms(form: str, value: Any) -> None:
    example = convert(value)
    assert (example.format, plain(example.conversation)) == (form, HI)


def test_longer_ones() -> None:
    assert plain(convert({"instruction": "Add.", "input": "1 2", "output": "3"}).conversation) == [
        ("user", "Add.\n\n1 2"),
        ("assistant", "3"),
    ]
    assert plain(convert(["a", "b", "c", "d"]).conversation)[2:] == [("user", "c"), ("assistant", "d")]
    told = convert(
        {"system": "Be brief.", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "?"}]}
    )
    assert plain(told.conversation)[0] == ("system", "Be brief.")
    history = {"instruction": "c", "output": "d", "history": [["a", "b"]]}
    assert [text for _, text in plain(convert(history).conversation)] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "value",
    [
        {"choices": ["Rome", "Paris", "Bonn"], "answer": 1},
        {"choices": ["Rome", "Paris", "Bonn"], "answer": "B"},
        {"choices": ["Rome", "Paris", "Bonn"], "answer": "Paris"},
        {"choices": {"text": ["Rome", "Paris", "Bonn"], "label": ["1", "2", "3"]}, "answerKey": "2"},
    ],
)
def test_choices_are_asked_as_the_reference_asks_them(value: dict[str, Any]) -> None:
    example = convert({"question": "The capital of France?", **value})
    assert example.format == "choices"
    assert plain(example.conversation) == [
        (
            "user",
            "Multiple Choice question: The capital of France?\n- Rome=A\n- Paris=B\n- Bonn=C\n\n"
            "Respond only with the letter of the correct answer.",
        ),
        ("assistant", "B"),
    ]


def call(name: str = "python", arguments: Any = '{"code": "2+2"}', key: str = "c1") -> dict[str, Any]:
    return {"id": key, "type": "function", "function": {"name": name, "arguments": arguments}}


def with_tools(calls: list[dict[str, Any]], *results: dict[str, Any], said: str | None = None) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": said, "tool_calls": calls},
            *results,
            {"role": "assistant", "content": "It is 4."},
        ]
    }


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "4"}


@pytest.mark.parametrize("one", [call(), call("calculator", "2+2"), call(arguments={"expression": "2+2"})])
def test_calls_of_our_tool_become_parts(one: dict[str, Any]) -> None:
    parts = convert(with_tools([one], RESULT, said="Let me see.")).conversation.messages[1].parts
    assert [(part.kind, part.text) for part in parts] == [
        ("text", "Let me see."),
        ("python", "2+2"),
        ("output", "4"),
        ("text", "It is 4."),
    ]


def test_several_calls_are_told_apart_by_their_ids() -> None:
    results = (
        {"role": "tool", "tool_call_id": "b", "content": "6"},
        {"role": "tool", "tool_call_id": "a", "content": "4"},
    )
    calls = [call(key="a"), call(arguments='{"code": "3+3"}', key="b")]
    parts = convert(with_tools(calls, *results)).conversation.messages[1].parts
    assert [part.text for part in parts] == ["3+3", "6", "2+2", "4", "It is 4."]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("text", "a conversation is an object or a list, not text"),
        (None, "not nothing"),
        ({"better": "a", "worse": "b"}, "no form that is known; its keys: better, worse"),
        ({"chosen": "a", "rejected": "b"}, "message 1 is from assistant where user must speak"),
        ({"a\x1b[31m": 1}, r"its keys: a\x1b[31m"),
        ({"messages": "Hi"}, "messages is a list, not text"),
        ({"messages": []}, "no user message"),
        ({"messages": ["Hi"]}, "message 1 is an object, not text"),
        ({"messages": [{"content": "Hi"}]}, "message 1 has no role"),
        ({"messages": messages(("user", "Hi"), ("critic", "No"))}, "message 2 has the unknown role 'critic'"),
        ({"messages": messages(("assistant", "Hi"))}, "message 1 is from assistant where user must speak"),
        ({"messages": messages(("user", "Hi"), ("user", "Hi"))}, "message 2 is from user where assistant must speak"),
        ({"messages": messages(("user", "Hi"))}, "no answer of the assistant"),
        ({"messages": messages(("user", "Hi"), ("assistant", " \n"))}, "message 2 (assistant) is empty"),
        ({"messages": messages(("user", "Hi"), ("assistant", None))}, "content of message 2 is text or a list"),
        ({"messages": messages(("user", "\ud800"), ("assistant", "a"))}, "half of a surrogate pair"),
        ({"messages": messages(("user", [{"type": "image_url"}]), ("assistant", "a"))}, "a part 'image_url'"),
        ({"messages": messages(("user", [{"type": "python", "text": "1"}]), ("assistant", "a"))}, "message 1: a user"),
        ({"messages": [*messages(("user", "Hi")), {"role": "assistant", "content": "a", "weight": 0}]}, "weight 0"),
        (with_tools([call("get_weather")], RESULT), "calls the tool 'get_weather'"),
        (with_tools([call(arguments='{"a": "1", "b": "2"}')], RESULT), "more than one text"),
        (with_tools([call()]), "message 2 calls a tool whose result does not follow"),
        (with_tools([call()], {**RESULT, "tool_call_id": "other"}), "was not called before it"),
        (with_tools([call()], RESULT, RESULT), "was not called before it"),
        ({"instruction": "Hi"}, "an instruction and no output"),
        ({"prompt": "Hi", "response": 3}, "response is text, not a number"),
        ({"question": "Q", "choices": ["a"], "answer": 0}, "a list of 2 to 26"),
        ({"question": "Q", "choices": ["a", "b"], "answer": "c"}, "'c' is none of the 2 choices"),
        ({"question": "Q", "choices": ["a", "b"], "answer": 2}, "none of the 2 choices"),
        (["Hi"], "no answer of the assistant"),
        ([], "no user message"),
    ],
)
def test_what_cannot_be_learnt_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(ConversationError) as caught:
        convert(value)
    assert reason in caught.value.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "messages",
                    "conversations",
                    "role",
                    "from",
                    "content",
                    "value",
                    "tool_calls",
                    "function",
                    "name",
                    "choices",
                ]
                + ["question", "answer", "instruction", "output", "history", "system", "type", "text", "arguments"]
            ),
            inner | st.sampled_from(["user", "assistant", "tool", "python", "text"]),
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_anything_is_a_conversation_or_a_conversation_error(value: Any) -> None:
    try:
        example = convert(value)
    except ConversationError as error:
        assert error.message.isprintable()
    else:
        assert parse(to_line(example.conversation).encode()) == example.conversation.to_dict()


def test_our_own_lines_come_back() -> None:
    conversation = convert(with_tools([call()], RESULT)).conversation
    line = to_line(conversation)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert convert(parse(line.encode())).conversation == conversation
    odd = Conversation((Message.text("user", "a\u2028b\x1b\n"), Message.text("assistant", "é")))
    assert convert(parse(to_line(odd).encode())).conversation == odd


def test_a_list_of_turns_is_told_from_a_list_of_conversations() -> None:
    assert looks_like_turns(["a", "b"])
    assert looks_like_turns(messages(*HI))
    for value in ([["a", "b"]], [{"messages": []}], [], "a", {"role": "user"}):
        assert not looks_like_turns(value)


def test_a_number_is_graded_as_a_number() -> None:
    example = convert({"question": "What is 6 times 7?", "answer": 42})
    assert (example.format, example.grading, example.conversation.messages[1].content) == ("pairs", "number", "42")
    assert convert({"question": "?", "answer": "42"}).grading == "text"
    assert convert({"question": "?", "choices": ["a", "b"], "answer": 1}).grading == "text"
    with pytest.raises(ConversationError, match="answer is text"):
        convert({"question": "?", "answer": True})


def test_a_check_makes_the_answer_a_program() -> None:
    check = "assert double(2) == 4"
    alone = convert({"prompt": "Write double.", "check": check})
    assert (alone.grading, alone.check, len(alone.conversation.messages)) == ("python", check, 1)
    both = convert({"prompt": "Write double.", "check": check, "response": "double = lambda x: 2 * x"})
    assert (both.grading, both.conversation.messages[1].content) == ("python", "double = lambda x: 2 * x")
    turns = convert({"messages": messages(("user", "Write it."), ("assistant", "x = 1")), "check": "assert x"})
    assert turns.grading == "python"
    assert convert({"prompt": "a", "response": "b", "check": "by hand"}).grading == "text"  # a column of that name
    with pytest.raises(ConversationError, match="check is not Python"):
        convert({"prompt": "a", "check": "assert x ="})
    with pytest.raises(ConversationError, match="no form that is known"):
        convert({"prompt": "a", "check": "none"})
