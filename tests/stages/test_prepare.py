"""Data and tokenizer: made once, made again when something changed."""

from __future__ import annotations

from typing import Any

import pytest

from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.errors import MissingError
from nanochat.runtime.events import Event, StageFinished, StageProgress
from nanochat.stages.prepare import make_pocket_data, make_tokenizer

DATA = PocketDataConfig(size=300_000, shard_size=100_000)
TOKENIZER = TokenizerConfig(vocab_size=512)


def test_made_before(toy: Any) -> None:
    events: list[Event] = []
    before = {path: path.stat().st_mtime_ns for path in toy.base.rglob("*") if path.is_file()}
    shards = make_pocket_data(DATA, toy.context, events.append)
    tokenizer = make_tokenizer(TOKENIZER, toy.context, events.append)
    assert len(shards) == 4
    assert tokenizer.vocab_size == 512
    assert isinstance(events[-1], StageFinished)
    assert events[-1].skipped
    assert {path: path.stat().st_mtime_ns for path in toy.base.rglob("*") if path.is_file()} == before


def test_another_size_is_trained_anew(toy: Any) -> None:
    events: list[Event] = []
    assert make_tokenizer(TokenizerConfig(vocab_size=300), toy.context, events.append).vocab_size == 300
    assert any(isinstance(event, StageProgress) for event in events)
    assert make_tokenizer(TokenizerConfig(vocab_size=300), toy.context, events.append).vocab_size == 300
    assert isinstance(events[-1], StageFinished)
    assert events[-1].skipped


def test_a_damaged_tokenizer_is_made_again(toy: Any) -> None:
    before = make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint
    ranks = toy.context.paths.tokenizer("pocket") / "ranks.tiktoken"
    ranks.write_bytes(ranks.read_bytes()[:-20])
    assert make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint == before


def test_other_data_makes_another_tokenizer(toy: Any) -> None:
    before = make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint
    make_pocket_data(PocketDataConfig(size=200_000, seed=5), toy.context, lambda event: None)
    assert make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint != before


def test_no_data(toy: Any) -> None:
    with pytest.raises(MissingError) as caught:
        make_tokenizer(TokenizerConfig(data="mine"), toy.context, lambda event: None)
    assert caught.value.hint == "nanochat data pocket --name mine"
