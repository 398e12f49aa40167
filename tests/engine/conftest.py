"""Small random models of both eras whose every part matters, and the tokenizer of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from doubles import BYTE_VOCAB, tiny_tokenizer

from nanochat.config.model import era_config
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return tiny_tokenizer()


def random_model(era: str, seed: int = 0, **shape: Any) -> GPT:
    """GQA, and in era D a window of 128 that is shorter than the texts of these tests."""
    small = {
        "sequence_len": 256,
        "vocab_size": BYTE_VOCAB,
        "n_layer": 3,
        "n_head": 4,
        "n_kv_head": 2,
        "n_embd": 64,
    }
    if era == "D":
        small["window_pattern"] = "SL"
    model = GPT(era_config(era, **{**small, **shape}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 1.0 if parameter.dim() == 1 or "embed" in name or "wte" in name else 0.15
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model.eval()


@pytest.fixture(scope="session", params=["A", "D"])
def model(request: pytest.FixtureRequest) -> GPT:
    return random_model(request.param)


@pytest.fixture(scope="session")
def model_d() -> GPT:
    return random_model("D")
