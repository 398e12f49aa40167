"""What mid and sft train on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from doubles import tiny_tokenizer

from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.pocket.conversations import KINDS
from nanochat.stages.finetune import SHARES, pocket_mixture, validation_conversations


@pytest.mark.parametrize("stage", ["mid", "sft"])
def test_the_mixture_keeps_the_shares_of_the_stage(stage: Literal["mid", "sft"]) -> None:
    mixture = pocket_mixture(stage, 500, seed=1)
    shares = SHARES[stage]
    assert abs(len(mixture) - 500) <= len(shares)
    assert mixture.counts.keys() == shares.keys() == set(KINDS)
    for name, share in shares.items():
        assert mixture.counts[name] == max(1, round(500 * share / sum(shares.values())))


def test_order_follows_the_seed_and_each_stage_has_its_own_conversations() -> None:
    def texts(stage: Literal["mid", "sft"], seed: int) -> list[str]:
        return [str(conversation) for conversation in pocket_mixture(stage, 100, seed)]

    assert texts("mid", 1) == texts("mid", 1)
    assert texts("mid", 1) != texts("mid", 2)
    assert sorted(texts("mid", 1)) == sorted(texts("mid", 2))
    assert len(set(texts("mid", 1)) & set(texts("sft", 1))) < 30


def test_mid_trains_everything_and_sft_the_answers() -> None:
    tokenizer = tiny_tokenizer()
    mid = validation_conversations(tokenizer, train_all=True)
    sft = validation_conversations(tokenizer, train_all=False)
    assert [ids for ids, _ in mid] == [ids for ids, _ in sft]
    assert all(all(mask) for _, mask in mid)
    assert all(0 < sum(mask) < len(mask) for _, mask in sft)


@pytest.mark.parametrize("stage", ["mid", "sft"])
def test_another_model_can_be_the_start(toy_before: Callable[[str], Any], stage: str) -> None:
    toy = toy_before("mid")
    result, _ = toy.train(stage, source="toy:base@4", tag="other", num_steps=1, eval_every=0)
    path = latest_valid(result.folder)
    assert path is not None
    base = load_checkpoint(toy.folder("base") / "step_000004")
    assert load_checkpoint(path).model_config == base.model_config
    assert not torch.equal(load_checkpoint(path).model_state["lm_head.weight"], base.model_state["lm_head.weight"])
    assert not (toy.base / "models" / "toy" / stage).exists()


def test_without_steps_the_length_follows_the_conversations(toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("mid")
    _, events = toy.train("mid", num_steps=0, conversations=40, eval_every=0, save_every=0)
    assert 1 <= events[0].total_steps <= 4
