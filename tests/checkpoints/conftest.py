"""A small model to save: tensors of several dtypes, and the tokenizer of 256 bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.checkpoints.store import save_checkpoint
from nanochat.config.model import ModelConfig
from nanochat.runtime.paths import Paths
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import train_tokenizer

CONFIG = ModelConfig(sequence_len=16, vocab_size=265, n_layer=1, n_head=1, n_kv_head=1, n_embd=8)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the cat sat on the mat"], 265)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(base=tmp_path, cache=tmp_path / "cache")


def tensors(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "transformer.wte.weight": torch.randn(320, 8, generator=generator).bfloat16(),
        "transformer.h.0.attn.c_q.weight": torch.randn(8, 8, generator=generator),
        "value_embeds.0.weight": torch.randn(320, 8, generator=generator),
        "lm_head.weight": torch.randn(320, 8, generator=generator),
        "resid_lambdas": torch.ones(1),
    }


@pytest.fixture
def save(tokenizer: Tokenizer) -> Callable[..., Path]:
    """`save(stage_dir, step)`: a checkpoint whose weights depend on the step."""

    def saver(stage_dir: Path, step: int, **changes: Any) -> Path:
        arguments: dict[str, Any] = {
            "model_state": tensors(step),
            "model_config": CONFIG,
            "tokenizer": tokenizer,
            "state": {"step": step, "loader": {"shard": 3}},
            "optimizer_state": {"muon.momentum": torch.full((2, 4), float(step))},
            "keep": 2,
        }
        return save_checkpoint(stage_dir, step, **{**arguments, **changes})

    return saver
