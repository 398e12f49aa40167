"""A toy installation: 300 KB of pocket text, 512 tokens, models of one or two layers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import CONFIGS, STAGES, context_of

from nanochat.config.chat import SamplingConfig
from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.config.train import TrainConfig
from nanochat.engine.load import load_engine
from nanochat.evaluation.chat import answer_text
from nanochat.runtime.events import Event, OnEvent
from nanochat.stages.folder import StageResult
from nanochat.stages.prepare import make_pocket_data, make_tokenizer
from nanochat.tasks.formats import convert
from nanochat.tokenizer.render import render_for_completion


class Toy:
    """An installation of its own for one test."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.context = context_of(base)

    def folder(self, stage: str) -> Path:
        return self.base / "models" / "toy" / stage

    def config(self, stage: str, **changes: Any) -> TrainConfig:
        return replace(CONFIGS[stage], **changes)

    def train(self, stage: str, on_event: OnEvent | None = None, **changes: Any) -> tuple[StageResult, list[Event]]:
        events: list[Event] = []

        def listen(event: Event) -> None:
            events.append(event)
            if on_event:
                on_event(event)

        result = STAGES[stage](self.config(stage, **changes), self.context, listen)
        return result, events

    def questions(self, right: Sequence[bool], max_new_tokens: int) -> Path:
        """A file of questions of which `asked:mid` answers these right: what it says is the answer to them, or not.

        That model is the base model in all but name, which has words for everything and never ends an answer.
        """
        self.train("mid", tag="asked", source="toy:base", num_steps=1, lr_scale=1e-9)
        engine, _ = load_engine(self.context.paths, "asked:mid", "cpu", torch.float32)
        asked = [f"Question {number}?" for number in range(len(right))]
        prompts = [render_for_completion(engine.tokenizer, convert([text, "?"]).conversation) for text in asked]
        sampling = SamplingConfig(temperature=0.0, top_k=None, max_new_tokens=max_new_tokens)
        said = [answer_text(engine.tokenizer, done) for done in engine.generate_batch(prompts, sampling)]
        assert all(any(sign.isalpha() for sign in answer) for answer in said)
        lines = zip(asked, said, right, strict=True)
        path = self.base / "own.jsonl"
        path.write_text("".join(json.dumps([q, a.upper() if yes else f"not {a}"]) + "\n" for q, a, yes in lines))
        return path


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and tokenizer, not to be changed."""
    base = tmp_path_factory.mktemp("prepared")
    context = context_of(base)
    make_pocket_data(PocketDataConfig(size=300_000, shard_size=100_000), context, lambda event: None)
    make_tokenizer(TokenizerConfig(vocab_size=512), context, lambda event: None)
    return base


@pytest.fixture(scope="session")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All three stages in one go: the installation, and each stage's events. Not to be changed."""
    base = tmp_path_factory.mktemp("trained") / "base"
    shutil.copytree(prepared, base)
    toy = Toy(base)
    return {"toy": toy, **{stage: toy.train(stage) for stage in STAGES}}


@pytest.fixture
def toy(prepared: Path, tmp_path: Path) -> Iterator[Toy]:
    """Data and tokenizer, no model yet."""
    base = tmp_path / "base"
    shutil.copytree(prepared, base)
    yield Toy(base)


@pytest.fixture
def toy_before(trained: dict[str, Any], tmp_path: Path) -> Callable[[str], Toy]:
    """`toy_before(stage)`: everything up to that stage, the stage itself not begun."""

    def make(stage: str) -> Toy:
        base = tmp_path / "base"
        shutil.copytree(trained["toy"].base, base)
        for later in list(STAGES)[list(STAGES).index(stage) :]:
            shutil.rmtree(base / "models" / "toy" / later)
        return Toy(base)

    return make
