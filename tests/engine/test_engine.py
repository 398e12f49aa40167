from __future__ import annotations

import pytest
import torch
from doubles import ScriptedModel, UniformModel, script_of, tiny_config

from nanochat.config.chat import GREEDY, SamplingConfig
from nanochat.engine.engine import Engine, GenerationStep
from nanochat.errors import ContextError, UsageError
from nanochat.model.gpt import GPT
from nanochat.tokenizer.special import ASSISTANT_END, OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer


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


def test_many_samples_from_one_prefill(model: GPT, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer)
    (prompt,) = prompts_of(tokenizer, 40)
    steps = list(engine.generate(prompt, SamplingConfig(temperature=1, top_k=None, seed=3, max_new_tokens=20), 4))
    rows: dict[int, list[int]] = {row: [] for row in range(4)}
    for step in steps:
        for row, token in zip(step.rows, step.tokens, strict=True):
            rows[row].append(token)
    assert len({tuple(tokens) for tokens in rows.values()}) == 4
    same = list(engine.generate(prompt, SamplingConfig(temperature=1, top_k=None, seed=3, max_new_tokens=20), 4))
    assert steps == same, "a seed makes it repeatable"
    four = [step.tokens for step in engine.generate(prompt, greedy(max_new_tokens=9), 4)]
    one = [step.tokens for step in engine.generate(prompt, greedy(max_new_tokens=9))]
    assert four == [tokens * 4 for tokens in one]


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
    prompts = [[tokenizer.bos], [tokenizer.bos, 1, 2], [tokenizer.bos, 3]]
    # 2 has three forced tokens (start, 8, end), and so has 1+1: the fourth dot is the model's own.
    completions = Engine(ScriptedModel(scripts), tokenizer).generate_batch(prompts, GREEDY)
    assert completions[0].text == "<|python_start|>1+1<|python_end|><|output_start|>2<|output_end|>.a"
    assert completions[1].text == "b"
    assert completions[2].text == "cc<|python_start|>2*4<|python_end|><|output_start|>8<|output_end|>c"
    assert all(completion.stop_reason == "stop" for completion in completions)


def test_steps_name_their_rows(tokenizer: Tokenizer) -> None:
    model = ScriptedModel({0: b"a", 1: b"bbb"})
    engine = Engine(model, tokenizer)
    cache, logits = engine._prefill([[1], [2]], GREEDY)
    steps: list[GenerationStep] = list(engine._decode(cache, logits, [0, 1], GREEDY))
    assert [step.rows for step in steps] == [(0, 1), (0, 1), (1,), (1,)]
    end = tokenizer.special(ASSISTANT_END)
    assert [step.tokens for step in steps] == [(97, 98), (end, 98), (98,), (end,)]
    assert [step.stop_reasons for step in steps] == [(None, None), ("stop", None), (None,), ("stop",)]


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


def test_the_consumer_is_not_in_inference_mode(model: GPT, tokenizer: Tokenizer) -> None:
    for _ in Engine(model, tokenizer).generate([tokenizer.bos], greedy(max_new_tokens=2)):
        assert not torch.is_inference_mode_enabled()
