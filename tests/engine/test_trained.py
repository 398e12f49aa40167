"""A trained model (scripts/make-golden-model) answers as it did: whole answers, tool calls, log-probabilities."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from nanochat.config.chat import GREEDY, SamplingConfig
from nanochat.config.model import ModelConfig
from nanochat.engine.engine import Engine
from nanochat.engine.events import ContextTrimmed, TurnFinished
from nanochat.engine.network import Network
from nanochat.engine.session import Session
from nanochat.engine.steps import Completion
from nanochat.model.gpt import GPT
from nanochat.tokenizer.conversation import Conversation, Message
from nanochat.tokenizer.render import render_for_completion
from nanochat.tokenizer.tokenizer import Tokenizer

FOLDER = Path(__file__).parent.parent / "golden" / "trained"
ANSWERS = FOLDER / "answers.json"
ASKED = json.loads((FOLDER / "asked.json").read_text())
SAMPLED = SamplingConfig(temperature=0.9, top_k=20, top_p=0.95, seed=7, max_new_tokens=40)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(FOLDER / "tokenizer")


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    return {name: weight.float() for name, weight in load_file(FOLDER / "model.safetensors").items()}


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return ModelConfig.from_dict(json.loads((FOLDER / "model.json").read_text()))


def network(config: ModelConfig, weights: dict[str, torch.Tensor], dtype: torch.dtype) -> Network:
    int8 = dtype == torch.int8
    return Network(config, weights, torch.device("cpu"), torch.bfloat16 if int8 else dtype, int8=int8)


@pytest.fixture(scope="module")
def engine(config: ModelConfig, weights: dict[str, torch.Tensor], tokenizer: Tokenizer) -> Engine:
    return Engine(network(config, weights, torch.float32), tokenizer)


def prompts(tokenizer: Tokenizer) -> list[list[int]]:
    return [render_for_completion(tokenizer, Conversation((Message.text("user", text),))) for text in ASKED]


def record(completion: Completion) -> dict[str, Any]:
    values = asdict(completion)
    del values["tokens"], values["forced"], values["logprobs"]
    return {**values, "tokens": len(completion.tokens), "forced": sum(completion.forced)} | {
        "logprob": round(sum(completion.logprobs), 3)
    }


def test_answers_are_what_they_were(engine: Engine, tokenizer: Tokenizer, request: pytest.FixtureRequest) -> None:
    asked = prompts(tokenizer)
    now = {
        "greedy": [record(each) for each in engine.generate_batch(asked, GREEDY)],
        "sampled": [record(each) for each in engine.generate_batch(asked, SAMPLED)],
    }
    if request.config.getoption("--update-golden"):
        ANSWERS.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
    before = json.loads(ANSWERS.read_text())
    for how in now:
        for was, made in zip(before[how], now[how], strict=True):
            assert made.pop("logprob") == pytest.approx(was.pop("logprob"), abs=0.02)
            assert made == was


def test_the_model_knows_something(engine: Engine, tokenizer: Tokenizer) -> None:
    """Else the golden answers would prove little: facts are right, and sums go through the calculator."""
    texts = [each["text"] for each in json.loads(ANSWERS.read_text())["greedy"]]
    for text, (question, right) in zip(texts, ASKED.items(), strict=True):
        assert right in text, question
    assert sum("<|output_start|>" in text for text in texts) >= 3


@pytest.mark.parametrize("way", ["alone", "without guessing", "network of training", "prompts in small pieces"])
def test_the_same_ids_in_every_way(
    engine: Engine,
    config: ModelConfig,
    weights: dict[str, torch.Tensor],
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    asked = prompts(tokenizer)
    expected = [each.tokens for each in engine.generate_batch(asked, GREEDY)]
    if way == "prompts in small pieces":
        monkeypatch.setattr("nanochat.engine.scheduler.LONGEST_PIECE", 5)
        monkeypatch.setattr("nanochat.engine.scheduler.PIECE_BESIDE", 3)
    model: Any = network(config, weights, torch.float32)
    if way == "network of training":
        model = GPT(config)
        model.load_state_dict(weights)
        model.eval()
    other = Engine(model, tokenizer, lookup=way != "without guessing")
    if way == "alone":
        made = [other.generate_batch([prompt], GREEDY)[0].tokens for prompt in asked]
    else:
        made = [each.tokens for each in other.generate_batch(asked, GREEDY)]
    assert made == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int8])
def test_fewer_bits_say_the_same(
    config: ModelConfig, weights: dict[str, torch.Tensor], tokenizer: Tokenizer, dtype: torch.dtype
) -> None:
    small = Engine(network(config, weights, dtype), tokenizer)
    for completion, (question, right) in zip(
        small.generate_batch(prompts(tokenizer), GREEDY), ASKED.items(), strict=True
    ):
        assert right in completion.text, question


def test_a_conversation_that_outgrows_the_context_goes_on(engine: Engine) -> None:
    """The context is 128 tokens: turns fall out, tool calls with them, and every answer is as good as the first."""
    session = Session(engine, GREEDY)
    trimmed = 0
    for question, right in list(ASKED.items()) * 2:
        events = list(session.ask(question))
        finished = events[-1]
        assert isinstance(finished, TurnFinished) and finished.stop_reason == "stop"
        assert right in finished.text
        trimmed += isinstance(events[0], ContextTrimmed)
    assert trimmed > 2
