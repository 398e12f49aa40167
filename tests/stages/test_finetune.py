"""What mid and sft have in common, and what tells them apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from doubles import tiny_tokenizer

from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.stages.conversations import pocket_validation
from nanochat.stages.finetune import rendered_for


def test_mid_trains_everything_and_sft_the_answers() -> None:
    tokenizer = tiny_tokenizer()
    mid = rendered_for(tokenizer, pocket_validation(), train_all=True)
    sft = rendered_for(tokenizer, pocket_validation(), train_all=False)
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
