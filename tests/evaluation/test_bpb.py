"""Bits per byte: the reference's number, and independence of batching and padding."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from doubles import tiny_config, tiny_tokenizer
from safetensors.torch import load_file
from torch import Tensor

from nanochat.config.model import era_config
from nanochat.evaluation.bpb import bits_per_byte
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.tokenizer.tokenizer import Tokenizer

ROWS, LENGTH = 16, 256


@pytest.fixture(scope="module")
def reference(test_data: Path) -> tuple[GPT, Tokenizer, Tensor, Tensor, float]:
    core = test_data / "parity" / "core"
    expected = json.loads((core / "expected.json").read_text())
    model = GPT(era_config(expected["era"], **expected["model_config"]))
    model.load_state_dict(load_file(core / "weights.safetensors"))
    lines = (test_data / expected["tokenizer"]).read_text(encoding="ascii").splitlines()
    tokenizer = Tokenizer({base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)})
    shard = test_data / "data" / "base_data" / "shard_00006.parquet"
    texts = pq.ParquetFile(shard).read_row_group(0, columns=["text"]).column("text").to_pylist()[:8]
    ids = torch.tensor([token for text in texts for token in [tokenizer.bos, *tokenizer.encode(text)]])
    inputs, targets = (ids[at : at + ROWS * LENGTH].view(ROWS, LENGTH) for at in (0, 1))
    return model, tokenizer, inputs, targets, json.loads((core / "bpb.json").read_text())["bpb"]


def test_reference(reference: tuple[GPT, Tokenizer, Tensor, Tensor, float]) -> None:
    model, tokenizer, ids, targets, expected = reference
    assert (targets == tokenizer.bos).any()
    value = bits_per_byte(model, [(ids, targets)], tokenizer.token_bytes())
    assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rows", [1, 5])
def test_reference_in_other_batches(reference: tuple[GPT, Tokenizer, Tensor, Tensor, float], rows: int) -> None:
    model, tokenizer, ids, targets, expected = reference
    batches = zip(ids.split(rows), targets.split(rows), strict=True)
    assert bits_per_byte(model, batches, tokenizer.token_bytes()) == pytest.approx(expected, rel=1e-6)


def test_a_model_that_guesses_uniformly() -> None:
    tokenizer, model = tiny_tokenizer(), GPT(tiny_config())
    with torch.no_grad():
        model.lm_head.weight.zero_()
    ids = torch.tensor([tokenizer.encode("one byte a token") for _ in range(2)])
    value = bits_per_byte(model, [(ids[:, :-1], ids[:, 1:])], tokenizer.token_bytes())
    assert value == pytest.approx(math.log2(tokenizer.vocab_size))


def test_what_does_not_count() -> None:
    tokenizer = tiny_tokenizer()
    model = init_weights(GPT(tiny_config()), 0)
    with torch.no_grad():
        model.lm_head.weight.normal_(generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[tokenizer.bos, *tokenizer.encode("some text")]])
    plain = bits_per_byte(model, [(ids[:, :-1], ids[:, 1:])], tokenizer.token_bytes())
    padded = torch.cat((ids, torch.full((1, 6), tokenizer.bos)), dim=1)
    targets = padded[:, 1:].clone()
    assert bits_per_byte(model, [(padded[:, :-1], targets)], tokenizer.token_bytes()) == pytest.approx(plain)
    targets[:, -6:] = -1
    assert bits_per_byte(model, [(padded[:, :-1], targets)], tokenizer.token_bytes()) == pytest.approx(plain)
    nothing = torch.full_like(targets, -1)
    assert math.isnan(bits_per_byte(model, [(padded[:, :-1], nothing)], tokenizer.token_bytes()))
    assert math.isnan(bits_per_byte(model, [], tokenizer.token_bytes()))
