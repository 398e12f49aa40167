"""Small random models of every era whose every part matters, and the tokenizer of bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from doubles import random_model, tiny_tokenizer

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


@pytest.fixture(scope="session", params=["A", "B", "C", "D"])
def model(request: pytest.FixtureRequest) -> GPT:
    return random_model(request.param)


@pytest.fixture(scope="session")
def model_d() -> GPT:
    return random_model("D")
