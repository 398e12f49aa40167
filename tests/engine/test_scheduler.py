"""Answers that come and go: each is what it would be alone, nobody waits long, and a place is free when it is left."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from doubles import ScriptedModel, UniformModel, network_of, random_model, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.config.chat import GREEDY, SamplingConfig
from nanochat.engine.cache import LONGEST_PIECE, KVCache
from nanochat.engine.engine import Engine
from nanochat.engine.row import Row
from nanochat.engine.scheduler import PIECE_BESIDE, Scheduler
from nanochat.engine.steps import GenerationStep, Request
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer

MODEL = random_model("D", seed=3)


def prompt(length: int, seed: int = 0) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(256) for _ in range(length)]


def greedy(count: int, **changes: Any) -> SamplingConfig:
    return SamplingConfig(temperature=0, max_new_tokens=count, **changes)


def make(model: Any, tokenizer: Tokenizer, rows: int = 4, context: int = 256) -> tuple[Scheduler, Any]:
    cache = KVCache(model.config, rows, context, torch.device("cpu"), torch.float32)
    scheduler = Scheduler(model, cache, lookup=False)

    def row(number: int, ids: list[int], config: SamplingConfig = GREEDY) -> Row:
        return Row(number, Request(tuple(ids), config), tokenizer, frozenset((tokenizer.bos,)), context, None)

    return scheduler, row


def drain(scheduler: Scheduler) -> list[GenerationStep]:
    steps: list[GenerationStep] = []
    while scheduler.busy:
        steps += scheduler.step()
    return steps


def of(steps: list[GenerationStep], number: int) -> list[int]:
    return [step.token for step in steps if step.row == number]


@settings(max_examples=10, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.integers(1, 30), st.integers(0, 12), st.sampled_from([0.0, 1.0])),
        min_size=2,
        max_size=7,
    )
)
def test_every_answer_is_what_it_is_alone(plans: list[tuple[int, int, int, float]]) -> None:
    """Requests of any length join at any step, with settings of their own, and leave when they are done."""
    from doubles import tiny_tokenizer

    tokenizer, network = tiny_tokenizer(), network_of(MODEL)
    scheduler, row = make(network, tokenizer, rows=3)
    waiting = {
        number: (
            joins,
            row(number, prompt(length, number), SamplingConfig(temperature=heat, seed=number, max_new_tokens=n)),
        )
        for number, (length, n, joins, heat) in enumerate(plans)
    }
    steps: list[GenerationStep] = []
    tick = 0
    while waiting or scheduler.busy:
        for number in [number for number, (joins, _) in waiting.items() if joins <= tick]:
            scheduler.submit(waiting.pop(number)[1])
        steps += scheduler.step()
        tick += 1
    for number, (length, n, _, heat) in enumerate(plans):
        alone, again = make(network, tokenizer, rows=1)
        alone.submit(
            again(number, prompt(length, number), SamplingConfig(temperature=heat, seed=number, max_new_tokens=n))
        )
        assert of(steps, number) == of(drain(alone), number)
    assert scheduler.slots.idle == 3


def test_a_long_prompt_does_not_keep_the_others_waiting(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b"x" * 500, tiny_config(sequence_len=1024))
    scheduler, row = make(model, tokenizer, context=1024)
    scheduler.submit(row(0, prompt(10)))
    scheduler.step()
    scheduler.submit(row(1, prompt(900, 1)))
    said = 0
    while not (new := [step for step in scheduler.step() if step.row == 1]):
        said += 1
    assert new and said == -(-900 // PIECE_BESIDE) - 1
    assert max(model.passes[1:]) <= PIECE_BESIDE + 1
    lone, row = make(model, tokenizer, context=1024)
    model.passes.clear()
    lone.submit(row(0, prompt(900, 2)))
    lone.step()
    assert model.passes == [LONGEST_PIECE], "alone it is read in large pieces"


def test_a_cancelled_row_is_free_at_once_in_every_phase(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b"x" * 500, tiny_config(sequence_len=1024))
    scheduler, row = make(model, tokenizer, rows=1, context=1024)
    reading, waiting, answering = row(0, prompt(600)), row(1, prompt(5, 1)), row(2, prompt(5, 2))
    scheduler.submit(reading)
    scheduler.submit(waiting)
    scheduler.submit(answering)
    scheduler.step()
    assert (scheduler.active, scheduler.slots.idle) == (1, 0)
    scheduler.cancel(waiting)
    scheduler.cancel(reading)
    assert (scheduler.active, scheduler.slots.idle) == (0, 1)
    assert {step.row for step in scheduler.step()} == {2}
    scheduler.cancel(answering)
    scheduler.cancel(answering)
    assert not scheduler.busy and scheduler.slots.idle == 1


def test_closing_an_answer_frees_its_row(tokenizer: Tokenizer) -> None:
    engine = Engine(ScriptedModel(b"x" * 100), tokenizer, rows=2)
    for number in range(50):
        steps = engine.generate([number], GREEDY)
        for _ in range(number % 4):
            next(steps)
        assert engine.active == (number % 4 > 0)
        steps.close()  # type: ignore[attr-defined]
        assert engine.active == 0
    assert engine._steps == {}


def test_answers_of_many_threads_are_generated_together(tokenizer: Tokenizer) -> None:
    network = network_of(MODEL)
    engine = Engine(network, tokenizer, rows=4)
    expected = [engine.generate_batch([prompt(20, seed)], greedy(24))[0].tokens for seed in range(6)]
    widest = 0
    hidden = network.hidden

    def watched(ids: torch.Tensor, cache: Any) -> torch.Tensor:
        nonlocal widest
        widest = max(widest, len(cache.pieces))
        time.sleep(0.002)
        return hidden(ids, cache)

    network.hidden = watched  # type: ignore[method-assign]
    got: dict[int, tuple[int, ...]] = {}

    def ask(seed: int) -> None:
        got[seed] = engine.generate_batch([prompt(20, seed)], greedy(24))[0].tokens

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[seed] for seed in range(6)] == expected
    assert widest > 1


def test_a_failure_in_one_pass_leaves_the_others_as_they_were(tokenizer: Tokenizer) -> None:
    network = network_of(MODEL)
    engine = Engine(network, tokenizer, rows=4)
    expected = engine.generate_batch([prompt(30)], greedy(20))[0].tokens
    steps = engine.generate(prompt(30), greedy(20))
    said = [next(steps).token for _ in range(5)]
    hidden = network.hidden

    def failing(ids: torch.Tensor, cache: Any) -> torch.Tensor:
        hidden(ids, cache)
        raise RuntimeError("injected")

    network.hidden = failing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="injected"):
        engine.generate_batch([prompt(9, 1)], GREEDY)
    network.hidden = hidden  # type: ignore[method-assign]
    said += [step.token for step in steps]
    assert tuple(said) == expected and engine.active == 0


class Reads:
    """Counts the tokens that a network reads."""

    def __init__(self, model: GPT) -> None:
        self.network = network_of(model)
        self.config, self.device, self.compute_dtype = model.config, model.device, torch.float32
        self.logits = self.network.logits
        self.count = 0

    def hidden(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        self.count += ids.size(1)
        return self.network.hidden(ids, cache)


def ends(steps: Iterator[GenerationStep]) -> list[int]:
    return [step.token for step in steps]


@pytest.mark.parametrize("era", ["A", "D"])
def test_what_was_read_before_is_not_read_again(era: str, tokenizer: Tokenizer) -> None:
    reads = Reads(random_model(era, seed=3))
    engine, fresh = Engine(reads, tokenizer, rows=3, lookup=False), network_of(random_model(era, seed=3))

    def ask(ids: list[int]) -> tuple[list[int], int]:
        reads.count = 0
        answer = ends(engine.generate(ids, greedy(10)))
        assert answer == ends(Engine(fresh, tokenizer).generate(ids, greedy(10)))
        return answer, reads.count

    first = prompt(100)
    answer, read = ask(first)
    assert read == 100 + 9
    second = [*first, *answer, *prompt(20, 1)]
    _, read = ask(second)
    assert read == 1 + 20 + 9, "the last token of the answer, and what is new"
    _, read = ask(second)
    assert read == 1 + 9, "the same question again: the last token"
    _, read = ask([*first, *answer, *prompt(15, 2)])
    assert read == 15 + 9, "another question in its place: a branch"
    _, read = ask(second)
    assert read == 1 + 9, "the first branch is still there"
    engine.forget()
    _, read = ask(second)
    assert read == len(second) + 9


def test_requests_with_a_common_beginning_read_it_once(tokenizer: Tokenizer) -> None:
    reads = Reads(MODEL)
    engine = Engine(reads, tokenizer, rows=8, lookup=False)
    common = prompt(150)
    prompts = [[*common, *prompt(5, seed)] for seed in range(1, 7)]
    got = engine.generate_batch(prompts, greedy(3))
    assert reads.count <= 150 + 6 * (5 + 3)
    for ids, completion in zip(prompts, got, strict=True):
        assert completion.tokens == Engine(reads, tokenizer).generate_batch([ids], greedy(3))[0].tokens


def test_more_requests_than_rows(tokenizer: Tokenizer) -> None:
    engine = Engine(network_of(MODEL), tokenizer, rows=2)
    prompts = [prompt(5 + seed, seed) for seed in range(9)]
    for ids, completion in zip(prompts, engine.generate_batch(prompts, greedy(7)), strict=True):
        assert completion.tokens == Engine(network_of(MODEL), tokenizer).generate_batch([ids], greedy(7))[0].tokens


def test_a_step_costs_little_beside_the_network(tokenizer: Tokenizer) -> None:
    """Bookkeeping and choosing, without a network: 0.03 ms on the machine this was written on, 0.08 when sampled."""
    model = UniformModel(tiny_config(sequence_len=4096, vocab_size=4096))
    engine = Engine(model, tokenizer, rows=1, lookup=False)
    engine.stop_tokens = frozenset()
    for heat in (0.0, 0.8):
        best, at = 1.0, time.perf_counter()
        for _ in engine.generate([1, 2], SamplingConfig(temperature=heat, max_new_tokens=400)):
            now = time.perf_counter()
            best, at = min(best, now - at), now
        assert best < 0.0003
