from __future__ import annotations

import random

import torch
from doubles import ScriptedModel, network_of, random_model, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.config.chat import GREEDY, SamplingConfig
from nanochat.engine.engine import Engine
from nanochat.engine.lookup import DRAFT, FEWEST, Lookup
from nanochat.tokenizer.special import OUTPUT_END, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer


def test_what_followed_before_is_guessed() -> None:
    lookup = Lookup()
    assert lookup.draft(list(b"the cat sat. the")) == list(b" cat")
    assert lookup.draft(list(b"the cat sat. the d")) == []
    assert lookup.draft([1, 2]) == [] and Lookup().draft([]) == []
    assert Lookup().draft(list(b"aaaa")) == list(b"a")


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 60))
def test_a_growing_text_gives_the_guesses_of_the_whole(ids: list[int], cut: int) -> None:
    growing = Lookup()
    growing.draft(ids[:cut])
    assert growing.draft(ids) == Lookup().draft(ids)


def test_guessing_pauses_where_it_does_not_help_and_is_tried_again() -> None:
    lookup, ids = Lookup(), [7] * 10
    for _ in range(20):
        if lookup.draft(ids):
            lookup.learn(0)
    assert lookup.draft(ids) == []
    later = [bool(lookup.draft(ids)) for _ in range(100)]
    assert any(later)
    assert FEWEST < DRAFT


def test_repeated_text_takes_fewer_passes(tokenizer: Tokenizer) -> None:
    text = b"the quick brown fox jumps over the lazy dog. "
    counts = {}
    for lookup in (True, False):
        model = ScriptedModel(text * 3, tiny_config())
        (completion,) = Engine(model, tokenizer, lookup=lookup).generate_batch([[tokenizer.bos]], GREEDY)
        assert completion.text == (text * 3).decode() and completion.stop_reason == "stop"
        counts[lookup] = len(model.passes)
    assert counts[True] < 0.6 * counts[False]


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), period=st.integers(2, 9), limit=st.integers(1, 40), era=st.sampled_from("AD"))
def test_the_tokens_are_those_of_decoding_one_by_one(seed: int, period: int, limit: int, era: str) -> None:
    """Also with a prompt that repeats itself, so that there is much to guess, and most of it wrong."""
    from doubles import tiny_tokenizer

    network = network_of(random_model(era, seed % 5))
    generator = random.Random(seed)
    ids = [generator.randrange(256) for _ in range(period)] * (240 // period)
    config = SamplingConfig(temperature=0, max_new_tokens=limit, top_logprobs=2)
    with_guesses, without = (
        list(Engine(network, tiny_tokenizer(), lookup=lookup).generate(ids[: 256 - 30], config))
        for lookup in (True, False)
    )
    assert [(step.token, step.stop_reason) for step in with_guesses] == [
        (step.token, step.stop_reason) for step in without
    ]
    torch.testing.assert_close(
        torch.tensor([step.logprob for step in with_guesses]),
        torch.tensor([step.logprob for step in without]),
        atol=1e-4,
        rtol=0,
    )


def test_a_guess_across_a_tool_call_does_not_hide_its_result(tokenizer: Tokenizer) -> None:
    from doubles import script_of

    call = script_of(tokenizer, PYTHON_START, "12+34", PYTHON_END)
    result = script_of(tokenizer, "<|output_start|>", "46", OUTPUT_END)
    script = [*call, *b"????", *b" and again ", *call, *b"????", *b" done"]
    answers = {}
    for lookup in (True, False):
        (completion,) = Engine(ScriptedModel(script), tokenizer, lookup=lookup).generate_batch([[1]], GREEDY)
        answers[lookup] = completion
    assert answers[True] == answers[False]
    assert list(answers[True].tokens) == [*call, *result, *b" and again ", *call, *result, *b" done"]
