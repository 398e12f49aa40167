"""The dials of the training stages."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.config.train import BaseTrainConfig, ChatTrainConfig, MidTrainConfig, SftConfig, TrainConfig
from nanochat.errors import UsageError


@pytest.mark.parametrize("stage", [BaseTrainConfig, MidTrainConfig, SftConfig])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device_batch_size", -1),
        ("keep", 0),
        ("total_batch_size", -1),
        ("num_steps", -1),
        ("eval_every", -5),
        ("save_every", -5),
        ("sample_every", -5),
        ("seed", -1),
        ("threads", -1),
        ("warmdown", 1.5),
        ("final_lr", -0.1),
    ],
)
def test_every_stage_refuses(stage: type[TrainConfig], name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        stage(**{name: value})
    assert f"{name} ({value})" in caught.value.message
    assert f"--{name.replace('_', '-')}" in caught.value.hint


def test_stages_refuse_their_own() -> None:
    with pytest.raises(UsageError, match="ratio"):
        BaseTrainConfig(ratio=0)
    with pytest.raises(UsageError, match="conversations"):
        ChatTrainConfig(conversations=0)
    with pytest.raises(UsageError, match=r"vocab_size \(264\) must be at least 265"):
        TokenizerConfig(vocab_size=264)
    with pytest.raises(UsageError, match="doc_cap"):
        TokenizerConfig(doc_cap=0)
    with pytest.raises(UsageError, match="threads"):
        TokenizerConfig(threads=-1)
    with pytest.raises(UsageError, match="max_problems"):
        ChatEvalConfig(max_problems=0)
    assert TokenizerConfig(vocab_size=265)
    assert PocketDataConfig().size > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("conversations", 0),
        ("epochs", 0.0),
        ("epochs", math.inf),
        ("sequence_len", 15),
        ("eval_problems", 0),
        ("eval_new_tokens", 0),
        ("matrix_lr", -0.1),
        ("embedding_lr", math.nan),
        ("lr_scale", -1.0),
        ("beta", 0.0),
        ("preference_lr_scale", 0.0),
        ("chosen_weight", -0.5),
        ("lora_rank", -1),
        ("lora_alpha", 0.0),
        ("lora_lr", math.inf),
    ],
)
def test_sft_refuses(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        SftConfig(**{name: value})
    assert f"{name} ({value})" in caught.value.message
    assert f"--{name.replace('_', '-')}" in caught.value.hint


def test_samples_are_taken_with_validations_unless_otherwise_said() -> None:
    assert SftConfig(eval_every=7).samples_every == 7
    assert SftConfig(eval_every=7, sample_every=0).samples_every == 0
    assert BaseTrainConfig(eval_every=7).samples_every == 2000


def test_micro_steps() -> None:
    assert BaseTrainConfig(device_batch_size=32).micro_steps(2048, 2**19) == 8
    assert BaseTrainConfig(device_batch_size=0).micro_steps(2048, 2**19) == 256  # at most: rows are yet to be chosen
    with pytest.raises(UsageError) as caught:
        BaseTrainConfig(device_batch_size=3).micro_steps(128, 1000)
    assert "total_batch_size (1000)" in caught.value.message
    assert "3 * 128 = 384" in caught.value.message
    assert "--total-batch-size 1152" in caught.value.hint


@given(rows=st.integers(1, 64), length=st.integers(1, 4096), total=st.integers(1, 2**20))
def test_the_hint_of_micro_steps_works(rows: int, length: int, total: int) -> None:
    config = BaseTrainConfig(device_batch_size=rows)
    try:
        assert config.micro_steps(length, total) * rows * length == total
    except UsageError as error:
        words = error.hint.split()
        better = int(words[words.index("--total-batch-size") + 1].rstrip(","))
        assert config.micro_steps(length, better) >= 1
        lowered = BaseTrainConfig(device_batch_size=1)
        if "--device-batch-size" in words:
            assert lowered.micro_steps(length, total) >= 1
        else:
            with pytest.raises(UsageError):
                lowered.micro_steps(length, total)


def test_recipes_are_the_eras() -> None:
    modern = BaseTrainConfig(depth=4, head_dim=64, window_pattern="SL").model(500)
    classic = BaseTrainConfig(depth=4, head_dim=64, recipe="classic").model(500)
    assert (modern.smear, modern.window_pattern, modern.vocab_size) == (True, "SL", 500)
    assert (classic.smear, classic.window_pattern, classic.rope_base) == (False, "", 10_000.0)
    assert modern.n_embd == classic.n_embd == 256


@pytest.mark.parametrize("name", ["matrix_lr", "embedding_lr", "unembedding_lr", "scalar_lr", "weight_decay", "warmup"])
@pytest.mark.parametrize("value", [-1, math.inf, math.nan])
def test_rates_are_finite_and_not_negative(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        BaseTrainConfig(**{name: value})


@pytest.mark.parametrize("name", ["ratio", "target_flops"])
@pytest.mark.parametrize("value", [0, -1.0, math.inf, math.nan])
def test_lengths_are_finite_and_above_zero(name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        BaseTrainConfig(**{name: value})


def test_a_width_that_smear_cannot_read() -> None:
    narrow = {"depth": 1, "aspect_ratio": 16, "head_dim": 16}
    with pytest.raises(UsageError, match=r"n_embd \(16\) must be at least 24"):
        BaseTrainConfig(**narrow).model(500)
    assert BaseTrainConfig(**narrow, recipe="classic").model(500).n_embd == 16
    assert BaseTrainConfig(**{**narrow, "head_dim": 24}).model(500).n_embd == 24


def test_impossible_depth() -> None:
    with pytest.raises(UsageError, match=r"depth \(0\)"):
        BaseTrainConfig(depth=0).model(500)
