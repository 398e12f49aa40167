from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from doubles import ScriptedModel, UniformModel, network_of, random_model, script_of, tiny_config

from nanochat.config.chat import GREEDY, SamplingConfig
from nanochat.engine import engine as module
from nanochat.engine.cache import KVCache
from nanochat.engine.engine import Engine
from nanochat.engine.steps import GenerationStep
from nanochat.errors import ContextError, DivergedError, UsageError
from nanochat.model.gpt import GPT
from nanochat.tokenizer.special import OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer

CPU = torch.device("cpu")


def greedy(**changes: int) -> SamplingConfig:
    return SamplingConfig(temperature=0, **changes)  # type: ignore[arg-type]


def prompts_of(tokenizer: Tokenizer, *lengths: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(0)
    return [[tokenizer.bos, *torch.randint(0, 256, (length,), generator=generator).tolist()] for length in lengths]


def slow_greedy(model: GPT, prompt: list[int], steps: int) -> list[int]:
    """Without a cache: the whole text again for every token."""
    ids = list(prompt)
    with torch.inference_mode():
        for _ in range(steps):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_decoding_equals_the_full_forward(model: GPT, tokenizer: Tokenizer) -> None:
    (prompt,) = prompts_of(tokenizer, 150)
    (completion,) = Engine(model, tokenizer).generate_batch([prompt], greedy(max_new_tokens=40))
    expected = slow_greedy(model, prompt, 40)
    assert list(completion.tokens) == expected[: len(completion.tokens)]
    assert completion.stop_reason == "length" or expected[len(completion.tokens)] >= 256


def test_a_row_of_a_batch_equals_the_row_alone(model: GPT, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer)
    prompts = prompts_of(tokenizer, 3, 200, 57, 1, 130, 57, 240)
    config = greedy(max_new_tokens=60)
    together = engine.generate_batch(prompts, config)
    for prompt, completion in zip(prompts, together, strict=True):
        (alone,) = engine.generate_batch([prompt], config)
        assert completion.tokens == alone.tokens
        assert completion.stop_reason == alone.stop_reason
        assert completion.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def tokens_of(steps: Iterable[GenerationStep], rows: int = 1) -> list[list[int]]:
    answers: list[list[int]] = [[] for _ in range(rows)]
    for step in steps:
        answers[step.row].append(step.token)
    return answers


def test_many_samples_from_one_prefill(model: GPT, tokenizer: Tokenizer) -> None:
    network = network_of(model)
    read: list[int] = []

    class Counting:
        config, device, compute_dtype, logits = network.config, CPU, torch.float32, staticmethod(network.logits)

        @staticmethod
        def hidden(ids: torch.Tensor, cache: Any) -> torch.Tensor:
            read.append(ids.size(1))
            return network.hidden(ids, cache)

    engine = Engine(Counting(), tokenizer)
    (prompt,) = prompts_of(tokenizer, 40)
    config = SamplingConfig(temperature=1, top_k=None, seed=3, max_new_tokens=20)
    rows = tokens_of(engine.generate(prompt, config, 4), 4)
    assert len({tuple(tokens) for tokens in rows}) == 4
    assert read[0] == 41 and max(read[1:]) <= 4, "the others copy what the first has read"
    for sample, tokens in enumerate(rows):
        alone = SamplingConfig(temperature=1, top_k=None, seed=3 + sample, max_new_tokens=20)
        assert tokens_of(Engine(network, tokenizer).generate(prompt, alone)) == [tokens]
    four = tokens_of(engine.generate(prompt, greedy(max_new_tokens=9), 4), 4)
    assert four == tokens_of(engine.generate(prompt, greedy(max_new_tokens=9))) * 4


def test_logprobs_are_those_of_the_model(model: GPT, tokenizer: Tokenizer) -> None:
    (prompt,) = prompts_of(tokenizer, 20)
    config = SamplingConfig(temperature=0.7, seed=1, max_new_tokens=10)
    (completion,) = Engine(model, tokenizer).generate_batch([prompt], config)
    ids = torch.tensor([[*prompt, *completion.tokens]])
    with torch.inference_mode():
        scores = model(ids).log_softmax(-1)[0, len(prompt) - 1 : -1]
    expected = scores.gather(1, ids[0, len(prompt) :, None])[:, 0]
    assert completion.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_stop_reasons(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, "hello")
    for model, config, tokens, reason in (
        (ScriptedModel(script), GREEDY, b"hello", "stop"),
        (ScriptedModel(script, then=tokenizer.bos), GREEDY, b"hello", "stop"),
        (ScriptedModel(script), greedy(max_new_tokens=3), b"hel", "length"),
        (ScriptedModel(script), greedy(max_new_tokens=5), b"hello", "length"),
        (ScriptedModel(script, tiny_config(sequence_len=8)), GREEDY, b"hello", "context"),
        (ScriptedModel(script, tiny_config(sequence_len=7)), GREEDY, b"hell", "context"),
        (ScriptedModel(script, tiny_config(sequence_len=4)), GREEDY, b"h", "context"),
        (ScriptedModel(script, tiny_config(sequence_len=3)), GREEDY, b"", "context"),
        (ScriptedModel(script, tiny_config(sequence_len=2)), GREEDY, b"", "context"),
    ):
        (completion,) = Engine(model, tokenizer).generate_batch([[tokenizer.bos, 1, 2]], config)
        assert (bytes(completion.tokens), completion.stop_reason) == (tokens, reason)


def test_a_prompt_that_fills_the_context_is_an_error_of_generate(tokenizer: Tokenizer) -> None:
    engine = Engine(UniformModel(tiny_config(sequence_len=8)), tokenizer)
    with pytest.raises(ContextError, match=r"10 tokens.*8") as caught:
        engine.generate([tokenizer.bos] * 10, GREEDY)
    assert "by 3 tokens" in caught.value.hint
    with pytest.raises(UsageError, match="empty"):
        engine.generate([], GREEDY)
    with pytest.raises(UsageError, match="num_samples"):
        engine.generate([1], GREEDY, 0)


def test_decoding_runs_up_to_the_end_of_the_context(model: GPT, tokenizer: Tokenizer) -> None:
    (prompt,) = prompts_of(tokenizer, 200)
    config = SamplingConfig(temperature=1, top_k=None, seed=0, max_new_tokens=10_000)
    for completion in Engine(model, tokenizer).generate_batch([prompt] * 4, config):
        assert len(prompt) + len(completion.tokens) <= model.config.sequence_len
        assert completion.stop_reason in ("stop", "context")


def test_a_tool_result_is_forced(tokenizer: Tokenizer) -> None:
    before = script_of(tokenizer, "is ", PYTHON_START, "23+58", PYTHON_END)
    result = script_of(tokenizer, OUTPUT_START, "81", OUTPUT_END)
    # What the model would have said in place of the result is not asked for.
    model = ScriptedModel([*before, *b"????", *b" yes"])
    (completion,) = Engine(model, tokenizer).generate_batch([[tokenizer.bos]], GREEDY)
    assert list(completion.tokens) == [*before, *result, *b" yes"]
    assert completion.forced == (False,) * len(before) + (True,) * 4 + (False,) * 4
    assert all(p == 0 for p, forced in zip(completion.logprobs, completion.forced, strict=True) if forced)


def test_tools_of_rows_do_not_mix_and_rows_leave(tokenizer: Tokenizer) -> None:
    scripts = {
        0: script_of(tokenizer, PYTHON_START, "1+1", PYTHON_END, "....", "a"),
        1: script_of(tokenizer, "b"),
        2: script_of(tokenizer, "cc", PYTHON_START, "2*4", PYTHON_END, "...", "c"),
    }
    prompts = [[tokenizer.bos, 4], [tokenizer.bos, 1, 2], [tokenizer.bos, 3]]
    # 2 has three forced tokens (start, 8, end), and so has 1+1: the fourth dot is the model's own.
    completions = Engine(ScriptedModel(scripts), tokenizer).generate_batch(prompts, GREEDY)
    assert completions[0].text == "<|python_start|>1+1<|python_end|><|output_start|>2<|output_end|>.a"
    assert completions[1].text == "b"
    assert completions[2].text == "cc<|python_start|>2*4<|python_end|><|output_start|>8<|output_end|>c"
    assert all(completion.stop_reason == "stop" for completion in completions)


def test_next_logits_equal_each_prompt_alone(model: GPT, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer)
    prompts = prompts_of(tokenizer, 5, 300, 1, 128)  # 300 is beyond the context
    together = engine.next_logits(prompts)
    assert together.shape == (4, tokenizer.vocab_size)
    for row, prompt in enumerate(prompts):
        with torch.inference_mode():
            alone = model(torch.tensor([prompt]))[0, -1]
        torch.testing.assert_close(together[row], alone, atol=1e-4, rtol=0)
    with pytest.raises(ContextError, match="2560"):
        engine.next_logits([[0] * 2561])


def test_nothing_to_generate(tokenizer: Tokenizer) -> None:
    assert Engine(UniformModel(), tokenizer).generate_batch([], GREEDY) == []


def test_forced_tokens_are_read_in_one_pass(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(script_of(tokenizer, PYTHON_START, "9*9999", PYTHON_END, "......."))
    steps = list(Engine(model, tokenizer).generate([tokenizer.bos], GREEDY))
    assert [step.token for step in steps if step.forced] == script_of(tokenizer, OUTPUT_START, "89991", OUTPUT_END)
    assert 8 in model.passes and len(model.passes) < len(steps) - 5
    (call,) = [step.call for step in steps if step.call]
    assert (call.expression, call.result) == ("9*9999", "89991")


def test_a_failing_tool_has_no_result(tokenizer: Tokenizer) -> None:
    def broken(expression: str) -> str:
        raise RuntimeError(expression)

    for tool in (broken, None):
        model = ScriptedModel(script_of(tokenizer, PYTHON_START, "1+1", PYTHON_END, "so"))
        (completion,) = Engine(model, tokenizer, tool=tool).generate_batch([[tokenizer.bos]], GREEDY)
        assert completion.text == "<|python_start|>1+1<|python_end|>so"


def test_an_answer_begins_with_its_prefix(tokenizer: Tokenizer) -> None:
    prefix = script_of(tokenizer, "so ", PYTHON_START, "2+2", PYTHON_END)
    forced = script_of(tokenizer, OUTPUT_START, "4", OUTPUT_END)
    model = ScriptedModel(b"!")
    steps = list(Engine(model, tokenizer).generate([tokenizer.bos], GREEDY, prefix=prefix))
    assert [step.token for step in steps] == [*prefix, *forced, ord("!"), model.then]
    assert [step.forced for step in steps] == [True] * (len(prefix) + 3) + [False] * 2
    assert model.prompts == [[tokenizer.bos, *prefix, *forced]]
    short = list(Engine(model, tokenizer).generate([tokenizer.bos], greedy(max_new_tokens=2), prefix=b"abc"))
    assert [(step.token, step.stop_reason) for step in short] == [(97, None), (98, "length")]


@pytest.mark.parametrize(
    ("script", "stops", "text"),
    [
        ("one. two", (". ",), "one"),
        ("one. two", ("o", "ne"), ""),
        ("one", ("xyz",), "one"),
        ("aab", ("ab",), "a"),
        ("end\n\nUser:", ("\n\nUser:", "\nUser"), "end\n"),
        ("ö 🦊!", ("🦊",), "ö "),
    ],
)
def test_stop_texts_end_an_answer(tokenizer: Tokenizer, script: str, stops: tuple[str, ...], text: str) -> None:
    config = SamplingConfig(temperature=0, stop=stops)
    (completion,) = Engine(ScriptedModel(script.encode()), tokenizer).generate_batch([[tokenizer.bos]], config)
    assert (completion.text, completion.stop_reason) == (text, "stop")


def test_a_stop_text_in_a_tool_call_is_none(tokenizer: Tokenizer) -> None:
    script = script_of(tokenizer, PYTHON_START, "1+1", PYTHON_END, "...", "+")
    config = SamplingConfig(temperature=0, stop=("+", "2"))
    steps = list(Engine(ScriptedModel(script), tokenizer).generate([tokenizer.bos], config))
    assert steps[-1].token == ord("+") and steps[-1].stop_reason == "stop" and len(steps) == 9


def test_a_model_without_numbers_is_said(tokenizer: Tokenizer) -> None:
    class Broken(UniformModel):
        def logits(self, hidden: torch.Tensor) -> torch.Tensor:
            return super().logits(hidden) * torch.nan

    engine = Engine(Broken(), tokenizer)
    for config in (GREEDY, SamplingConfig(top_p=0.5, min_p=0.1)):
        with pytest.raises(DivergedError, match="not a number"):
            list(engine.generate([1], config))
    assert engine.active == 0


def test_token_ids_the_model_does_not_know_are_refused(tokenizer: Tokenizer) -> None:
    engine = Engine(UniformModel(), tokenizer)
    for wrong in ([0, 265], [-1, 0]):
        with pytest.raises(UsageError, match=r"knows 0 to 264"):
            engine.generate_batch([wrong], GREEDY)
    with pytest.raises(UsageError, match="265"):
        engine.generate([1], GREEDY, prefix=[265])


def test_memory_is_taken_when_it_is_needed(tokenizer: Tokenizer) -> None:
    model = ScriptedModel(b"ok")
    engine = Engine(model, tokenizer, rows=3)
    assert engine._scheduler is None
    assert engine.cache_bytes() == 2 * 256 * 32 * 4
    engine.generate_batch([[1], [2], [3], [4]], GREEDY)
    assert engine._scheduler and engine._scheduler.cache.rows == 3
    engine.forget()
    assert engine._scheduler is None


def test_rows_follow_what_is_wanted_where_reserving_costs_memory(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ScriptedModel(b"ok")
    model.device = torch.device("meta")
    engine = Engine(model, tokenizer)
    monkeypatch.setattr(module, "free_bytes", lambda device: 4 * 10 * engine.cache_bytes())
    monkeypatch.setattr(module, "KVCache", lambda config, rows, *rest: KVCache(config, rows, 8, CPU, torch.float32))
    first = engine._ready(1)
    assert first.cache.rows == 4 and engine._ready(3) is first
    assert engine._ready(9).cache.rows == 9
    assert engine._ready(100).cache.rows == 10, "a quarter of the free memory"
    assert engine._ready(100) is engine._ready(1)


def test_the_consumer_is_not_in_inference_mode(model: GPT, tokenizer: Tokenizer) -> None:
    for _ in Engine(model, tokenizer).generate([tokenizer.bos], greedy(max_new_tokens=2)):
        assert not torch.is_inference_mode_enabled()


def test_other_weights_keep_nothing_of_the_old_ones(model: GPT, tokenizer: Tokenizer) -> None:
    """The second prompt begins as the first, whose keys and values are of weights that are gone."""
    other = random_model("D", seed=9)
    engine = Engine(network_of(model), tokenizer)
    (prompt,) = prompts_of(tokenizer, 60)

    def said(by: Engine) -> tuple[int, ...]:
        return by.generate_batch([prompt], greedy(max_new_tokens=12))[0].tokens

    before = said(engine)
    engine.renew(network_of(other))
    assert said(engine) == said(Engine(network_of(other), tokenizer)) != before
    answering = engine.generate(prompt, greedy(max_new_tokens=12))
    next(answering)
    with pytest.raises(RuntimeError, match="while answers are being generated"):
        engine.renew(network_of(model))
    answering.close()
    engine.renew(network_of(model))
    assert said(engine) == before
