from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from doubles import ScriptedModel, script_of, tiny_config, tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from nanochat.config.chat import SamplingConfig
from nanochat.engine.engine import Engine
from nanochat.engine.events import ContextTrimmed, SessionEvent, TextDelta, ToolUsed, TurnFinished
from nanochat.engine.session import Session
from nanochat.errors import ContextError
from nanochat.tokenizer.conversation import Message, Part
from nanochat.tokenizer.special import ASSISTANT_START, BOS, PYTHON_END, PYTHON_START, USER_END, USER_START
from nanochat.tokenizer.tokenizer import Tokenizer


def session_with(model: ScriptedModel, system: str | None = None, **changes: Any) -> Session:
    return Session(Engine(model, tiny_tokenizer()), SamplingConfig(temperature=0, **changes), system)


def finished(events: list[SessionEvent]) -> TurnFinished:
    assert isinstance(events[-1], TurnFinished)
    return events[-1]


def said(events: list[SessionEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_an_answer_streams_and_is_remembered(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b"Hello!", scripts=[b"Again."])
    session = session_with(model)
    events = list(session.ask("Hi"))
    assert [event.text for event in events if isinstance(event, TextDelta)] == list("Hello!")
    end = finished(events)
    assert (end.text, end.tokens, end.stop_reason) == ("Hello!", 7, "stop")
    assert end.tokens_per_s > 0 and end.time_to_first_token_s > 0
    list(session.ask("More"))
    expected = script_of(tokenizer, BOS, USER_START, "Hi", USER_END, ASSISTANT_START, "Hello!")
    expected += script_of(tokenizer, "<|assistant_end|>", USER_START, "More", USER_END, ASSISTANT_START)
    assert model.prompts[1] == expected
    assert [message.content for message in session.messages] == ["Hi", "Hello!", "More", "Again."]
    session.reset()
    assert session.messages == ()


def test_a_system_text_goes_before_the_first_message(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b"ok")
    list(session_with(model, system="Be brief.").ask("Hi"))
    assert model.prompts[0] == script_of(tokenizer, BOS, USER_START, "Be brief.\n\nHi", USER_END, ASSISTANT_START)


def test_tool_calls_are_events_and_history(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, "It is ", PYTHON_START, "23+58", PYTHON_END, "????", "81.")
    session = session_with(ScriptedModel(script))
    events = list(session.ask("23+58?"))
    tools = [event for event in events if isinstance(event, ToolUsed)]
    assert [(tool.expression, tool.result) for tool in tools] == [("23+58", "81")]
    assert said(events) == finished(events).text == "It is 81."
    assert session.messages[-1] == Message(
        "assistant",
        (Part("text", "It is "), Part("python", "23+58"), Part("output", "81"), Part("text", "81.")),
    )


def test_a_call_without_a_result_is_said(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, PYTHON_START, "1/0", PYTHON_END, "Hm.")
    events = list(session_with(ScriptedModel(script)).ask("?"))
    assert [e.result for e in events if isinstance(e, ToolUsed)] == [None]
    assert finished(events).text == "Hm."


@pytest.mark.parametrize("emoji", ["🦊", "é", "한글", "👩‍🚀"])
def test_characters_of_many_tokens_arrive_whole(emoji: str) -> None:
    events = list(session_with(ScriptedModel(f"a{emoji}b".encode())).ask("?"))
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert pieces == ["a", *emoji, "b"]


@given(st.binary(max_size=40))
def test_any_bytes_stream_as_valid_text_equal_to_the_whole(data: bytes) -> None:
    events = list(session_with(ScriptedModel(data)).ask("?"))
    assert said(events) == finished(events).text == data.decode("utf-8", "replace")
    said(events).encode("utf-8")


def test_an_answer_cut_inside_a_character_ends_with_its_replacement() -> None:
    events = list(session_with(ScriptedModel("a🦊".encode()), max_new_tokens=3).ask("?"))
    assert said(events) == finished(events).text == "a\ufffd"
    assert finished(events).stop_reason == "length"


def test_other_special_tokens_are_not_shown(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, "a", USER_START, "b", PYTHON_END, "c")
    assert said(list(session_with(ScriptedModel(script)).ask("?"))) == "abc"


def test_text_of_the_user_never_becomes_special_tokens(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b"ok")
    text = "<|assistant_end|><|bos|> \udc80"
    list(session_with(model, system="<|bos|>").ask(text))
    prompt = model.prompts[0]
    assert prompt.count(tokenizer.bos) == 1
    assert tokenizer.special("<|assistant_end|>") not in prompt


def test_the_oldest_turns_go_first_and_whole() -> None:
    model = ScriptedModel(b"0123456789", tiny_config(sequence_len=100))
    session = session_with(model, system="S", max_new_tokens=20)
    trimmed: list[list[int]] = []
    for turn in range(8):
        events = list(session.ask(f"question {turn}"))
        trimmed.append([event.turns for event in events if isinstance(event, ContextTrimmed)])
        assert finished(events).text == "0123456789"
        assert len(model.prompts[-1]) + 20 <= 100
        roles = [message.role for message in session.messages]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)]
        assert bytes(model.prompts[-1][2:5]) == b"S\n\n"
    assert trimmed[:2] == [[], []]
    assert trimmed[-1] == [1]
    assert session.messages[-2].content == "question 7"


def test_a_message_that_is_too_long_says_by_how_much_and_changes_nothing() -> None:
    session = session_with(ScriptedModel(b"ok", tiny_config(sequence_len=64)))
    list(session.ask("short"))
    before = session.messages
    with pytest.raises(ContextError, match="17 tokens too long") as caught:
        list(session.ask("x" * 76))  # bos, user_start, user_end, assistant_start and one token of answer
    assert "characters" in caught.value.hint
    assert session.messages == before
    assert finished(list(session.ask("x" * 59))).stop_reason == "context"


def test_a_closed_answer_keeps_what_was_said() -> None:
    session = session_with(ScriptedModel(b"Hello!", scripts=[b"Yes"]))
    events = session.ask("Hi")
    next(events), next(events), next(events)
    events.close()  # type: ignore[attr-defined]
    assert [message.content for message in session.messages] == ["Hi", "Hel"]
    assert finished(list(session.ask("go on?"))).text == "Yes"


def test_an_interruption_inside_the_model_keeps_what_was_said() -> None:
    class Interrupting(ScriptedModel):
        def say(self, script: Sequence[int], place: int) -> int:
            if place == 3:
                raise KeyboardInterrupt
            return super().say(script, place)

    session = session_with(Interrupting(b"Hello!"))
    with pytest.raises(KeyboardInterrupt):
        list(session.ask("Hi"))
    assert [message.content for message in session.messages] == ["Hi", "Hel"]


def test_an_empty_answer_is_a_turn_too() -> None:
    session = session_with(ScriptedModel(b""))
    end = finished(list(session.ask("Hi")))
    assert (end.text, end.tokens, end.tokens_per_s, end.stop_reason) == ("", 1, 0.0, "stop")
    assert finished(list(session.ask("Hi again"))).text == ""


def test_the_next_turn_reads_only_what_is_new() -> None:
    model = ScriptedModel(b"0123456789", scripts=[b"yes", b"no"])
    session = session_with(model, system="Be brief.")
    list(session.ask("a long question " * 5))
    model.passes.clear()
    list(session.ask("Hi"))
    assert model.passes[0] == 1 + 1 + 2 + 2, "assistant_end, user_start, Hi, user_end, assistant_start"
    assert all(count == 1 for count in model.passes[1:])


def test_a_conversation_goes_on_from_an_earlier_turn() -> None:
    model = ScriptedModel(b"one", scripts=[b"two", b"three", b"four"])
    session = session_with(model)
    list(session.ask("a"))
    before = session.messages
    list(session.ask("b"))
    session.restore(before)
    model.passes.clear()
    list(session.ask("c"))
    assert model.passes[0] <= 5, "the first turn is still known"
    assert [message.content for message in session.messages] == ["a", "one", "c", "three"]
    other = session_with(model, system="ignored")
    other.restore((Message.text("system", "S"), *session.messages))
    list(other.ask("d"))
    assert model.prompts[3][2:] == [83, 10, 10, *model.prompts[2][2:], *b"three", *model.prompts[3][-5:]]


def test_an_answer_cut_inside_a_call_is_closed_in_the_history(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, "so ", PYTHON_START, "123+456")
    model = ScriptedModel(script, scripts=[b"ok"])
    session = session_with(model, max_new_tokens=7)
    assert finished(list(session.ask("?"))).stop_reason == "length"
    assert session.messages[-1].parts == (Part("text", "so "), Part("python", "123"))
    list(session.ask("!"))
    cut = script_of(tokenizer, "so ", PYTHON_START, "123", PYTHON_END, "<|assistant_end|>", USER_START, "!")
    assert model.prompts[1][-len(cut) - 2 : -2] == cut


def test_a_stop_text_is_neither_shown_nor_remembered(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b"yes\nUser: no", scripts=[b"ok"])
    session = Session(Engine(model, tokenizer), SamplingConfig(temperature=0, stop=("\nUser:",)))
    events = list(session.ask("?"))
    assert said(events) == finished(events).text == "yes" and finished(events).stop_reason == "stop"
    list(session.ask("!"))
    expected = script_of(tokenizer, BOS, USER_START, "?", USER_END, ASSISTANT_START, "yes", "<|assistant_end|>")
    assert model.prompts[1][: len(expected) + 1] == [*expected, tokenizer.special(USER_START)]
