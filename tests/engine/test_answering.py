"""What a front-end asks for, done by an engine: forks, samples, plain text, counts, and how likely a text is."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
import torch
from doubles import ScriptedModel, UniformModel, network_of, random_model, script_of, tiny_config, tiny_tokenizer

from nanochat.config.chat import SamplingConfig
from nanochat.engine.answering import answer, count, examine
from nanochat.engine.backend import Question
from nanochat.engine.engine import Engine
from nanochat.engine.events import ContextTrimmed, SessionEvent, TextDelta, Tokens, ToolUsed, TurnFinished
from nanochat.errors import ContextError, ConversationError, UsageError
from nanochat.tokenizer.conversation import Message, Part
from nanochat.tokenizer.special import ASSISTANT_END, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer

GREEDY = SamplingConfig(temperature=0, top_logprobs=2)
HI = Message.text("user", "Hi")


def ask(model: Any, *messages: Message, **more: Any) -> list[SessionEvent]:
    more.setdefault("config", GREEDY)
    return list(answer(Engine(model, tiny_tokenizer()), Question(messages=messages or (HI,), **more)))


def tokens_of(events: list[SessionEvent], sample: int = 0) -> list[Any]:
    return [t for event in events if isinstance(event, Tokens) and event.sample == sample for t in event.tokens]


def test_tokens_are_told_with_their_alternatives(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, "é", PYTHON_START, "2*3", PYTHON_END, "...", "6")
    events = ask(ScriptedModel(script), tokens=True)
    tokens = tokens_of(events)
    assert b"".join(token.data for token in tokens if not token.special) == "é2*366".encode()
    assert [token.text for token in tokens[:3]] == ["\\xc3", "\\xa9", PYTHON_START]
    assert [token.forced for token in tokens] == [False] * 7 + [True] * 3 + [False] * 2
    assert all(len(token.top) == 2 and token.top[0].id == token.id for token in tokens if not token.forced)
    end = events[-1]
    assert isinstance(end, TurnFinished)
    assert end.ids == tuple(token.id for token in tokens[:-1]) and tokens[-1].text == ASSISTANT_END
    assert end.message.parts == (Part("text", "é"), Part("python", "2*3"), Part("output", "6"), Part("text", "6"))
    assert not any(isinstance(event, Tokens) for event in ask(ScriptedModel(b"quiet")))


def test_an_answer_goes_another_way_from_a_token_on(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, PYTHON_START, "2*3", PYTHON_END, "...", "is 6")
    first = ask(ScriptedModel(script))[-1]
    assert isinstance(first, TurnFinished)
    fork = (*first.ids[:9], ord("!"))  # behind the tool's result and "i"
    model = ScriptedModel(b" said")
    events = ask(model, prefix=fork, tokens=True)
    end = events[-1]
    assert isinstance(end, TurnFinished) and end.text == "i! said"
    assert [(e.expression, e.result) for e in events if isinstance(e, ToolUsed)] == [("2*3", "6")]
    assert [part.text for part in end.message.parts] == ["2*3", "6", "i! said"]
    assert [token.forced for token in tokens_of(events)] == [True] * len(fork) + [False] * 6
    assert model.prompts[0][-len(fork) :] == list(fork), "the result of the tool is not put in twice"


def test_samples_come_as_one_stream() -> None:
    config = SamplingConfig(temperature=1, top_k=None, seed=4, max_new_tokens=12)
    model = network_of(random_model("D"))
    together = ask(model, config=config, samples=3, tokens=True)
    ends = {event.sample: event for event in together if isinstance(event, TurnFinished)}
    assert sorted(ends) == [0, 1, 2] and len({end.ids for end in ends.values()}) == 3
    for sample, end in ends.items():
        alone = ask(model, config=SamplingConfig(temperature=1, top_k=None, seed=4 + sample, max_new_tokens=12))[-1]
        assert isinstance(alone, TurnFinished) and alone.ids == end.ids
        assert "".join(e.text for e in together if isinstance(e, TextDelta) and e.sample == sample) == end.text
        assert [token.id for token in tokens_of(together, sample)][: len(end.ids)] == list(end.ids)


def test_a_stop_ends_every_sample(tokenizer: Tokenizer) -> None:
    stop = threading.Event()
    config = SamplingConfig(temperature=0, max_new_tokens=100)
    question = Question(messages=(HI,), config=config, samples=3)
    ends = []
    for event in answer(Engine(ScriptedModel(b"x" * 90), tokenizer), question, stop):
        if isinstance(event, TextDelta):
            stop.set()
        elif isinstance(event, TurnFinished):
            ends.append((event.sample, event.stop_reason, event.tokens < 5))
    assert sorted(ends) == [(0, "cancelled", True), (1, "cancelled", True), (2, "cancelled", True)]


def test_plain_text_goes_on_without_the_form_of_a_conversation(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b" time")
    events = list(answer(Engine(model, tokenizer), Question(text="Once <|bos|>", config=GREEDY)))
    assert model.prompts == [[tokenizer.bos, *b"Once <|bos|>"]]
    assert isinstance(events[-1], TurnFinished) and events[-1].text == " time"


def test_what_was_read_is_read_once() -> None:
    model = ScriptedModel(b"one", scripts=[b"two"])
    engine, known = Engine(model, tiny_tokenizer()), {}
    end = list(answer(engine, Question(messages=(HI,), config=GREEDY), known=known))[-1]
    assert isinstance(end, TurnFinished) and known[end.message][:-1] == end.ids
    model.passes.clear()
    more = Question(messages=(HI, end.message, Message.text("user", "more")), config=GREEDY)
    list(answer(engine, more, known=known))
    assert model.passes[0] == 1 + 1 + 4 + 2


def test_old_turns_that_have_no_room_are_told_of_and_counted() -> None:
    turns = tuple(Message.text(role, "x" * 20) for _ in range(4) for role in ("user", "assistant"))
    config = tiny_config(sequence_len=100)
    events = ask(ScriptedModel(b"ok", config), *turns, HI, config=SamplingConfig(temperature=0, max_new_tokens=20))
    assert events[0] == ContextTrimmed(3)
    engine = Engine(ScriptedModel(b"ok", config), tiny_tokenizer())
    short = count(engine, (HI,))
    assert (short.used, short.limit, short.forgotten) == (6, 100, 0)
    full = count(engine, (*turns, HI))
    assert full.forgotten == 3 and full.used < 100
    assert count(engine, ()).used == 4, "an empty question"
    assert count(engine, (HI, Message.text("assistant", "ok"))).used == 6 + 3 + 3
    beyond = count(engine, (Message.text("user", "x" * 200),))
    assert (beyond.used, beyond.limit) == (204, 100), "too long is a number too"


@pytest.mark.parametrize(
    ("messages", "more"),
    [((), {}), ((HI,), {"text": "both"}), ((HI, Message.text("assistant", "ok")), {}), ((HI,), {"samples": 0})],
)
def test_questions_that_are_none(messages: tuple[Message, ...], more: Any) -> None:
    with pytest.raises(UsageError):
        Question(messages=messages, **more)


def test_roles_out_of_turn_are_refused() -> None:
    with pytest.raises(ConversationError):
        ask(ScriptedModel(b"ok"), HI, HI)


def test_a_text_has_the_likelihood_that_the_network_gives_it(tokenizer: Tokenizer) -> None:
    model = random_model("D")
    text = "A text of some length, é🦊. " * 7
    examined = examine(Engine(network_of(model), tokenizer), text, (), 3)
    ids = tokenizer.encode(text)
    assert len(ids) < 256
    with torch.no_grad():
        logits = model(torch.tensor([[tokenizer.bos, *ids]]))[0].float()
    logprobs = logits.log_softmax(-1)
    expected = logprobs[torch.arange(len(ids)), torch.tensor(ids)]
    got = torch.tensor([token.logprob for token in examined.tokens])
    assert torch.allclose(got, expected, atol=1e-4)
    assert [token.id for token in examined.tokens] == ids
    best = logprobs[:-1].topk(3).indices.tolist()
    assert [[other.id for other in token.top] for token in examined.tokens] == best
    assert examined.bytes == len(text.encode())
    assert math.isclose(examined.bits_per_byte, -float(expected.sum()) / math.log(2) / examined.bytes, rel_tol=1e-4)


def test_a_text_longer_than_the_context_is_read_in_windows(tokenizer: Tokenizer) -> None:
    engine = Engine(UniformModel(tiny_config(sequence_len=32)), tokenizer)
    text = "0123456789" * 30
    examined = examine(engine, text, (), 0)
    assert b"".join(token.data for token in examined.tokens).decode() == text
    assert math.isclose(examined.bits_per_byte, math.log2(265), rel_tol=1e-5)
    assert math.isclose(examined.perplexity, 265, rel_tol=1e-4)
    stop = threading.Event()
    stop.set()
    assert examine(engine, text, (), 0, stop).tokens == ()
    empty = examine(engine, "", (), 0)
    assert empty.tokens == () and math.isnan(empty.bits_per_byte)


def test_an_answer_is_as_likely_as_when_it_was_said(tokenizer: Tokenizer) -> None:
    engine = Engine(network_of(random_model("D", sequence_len=128)), tokenizer)
    config = SamplingConfig(temperature=0, max_new_tokens=12, logit_bias=tuple((i, -100.0) for i in range(128, 265)))
    question = Question(messages=(HI,), config=config, tokens=True)
    events = list(answer(engine, question))
    end = events[-1]
    assert isinstance(end, TurnFinished)
    examined = examine(engine, end.text, (HI,), 0)
    assert [token.id for token in examined.tokens] == list(end.ids)
    said = torch.tensor([token.logprob for token in tokens_of(events)])
    assert torch.allclose(torch.tensor([token.logprob for token in examined.tokens]), said, atol=1e-4)
    with pytest.raises(ContextError, match="context of the model 128"):
        examine(engine, "x" * 126, (HI,), 0)
