"""Bits per byte: the reference's number, and independence of batching and padding."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from core_model import core_model
from doubles import tiny_config, tiny_tokenizer
from torch import Tensor

from nanochat.evaluation.bpb import SplitScore, Tally, bits_per_byte, row_tallies
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.tokenizer.tokenizer import Tokenizer

ROWS, LENGTH = 16, 256


@pytest.fixture(scope="module")
def reference(test_data: Path) -> tuple[GPT, Tokenizer, Tensor, Tensor, float]:
    model, tokenizer, _ = core_model(test_data)
    shard = test_data / "data" / "base_data" / "shard_00006.parquet"
    texts = pq.ParquetFile(shard).read_row_group(0, columns=["text"]).column("text").to_pylist()[:8]
    ids = torch.tensor([token for text in texts for token in [tokenizer.bos, *tokenizer.encode(text)]])
    inputs, targets = (ids[at : at + ROWS * LENGTH].view(ROWS, LENGTH) for at in (0, 1))
    return (
        model,
        tokenizer,
        inputs,
        targets,
        json.loads((test_data / "parity" / "core" / "bpb.json").read_text())["bpb"],
    )


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


def test_rows_add_up_to_the_whole(reference: tuple[GPT, Tokenizer, Tensor, Tensor, float]) -> None:
    model, tokenizer, ids, targets, expected = reference
    parts = row_tallies(model, ids, targets, tokenizer.token_bytes())
    assert len(parts) == ROWS
    score = SplitScore(parts=tuple(parts))
    assert score.total.bits_per_byte == pytest.approx(expected, rel=1e-6)
    assert score.interval is not None
    low, high = score.interval
    assert low < expected < high


def test_the_interval_of_a_split() -> None:
    """Against the textbook: parts of equal size are a plain sample, whose mean has a standard error."""
    nats = [7.0, 9.0, 10.0, 14.0]
    score = SplitScore(parts=tuple(Tally(value, 10) for value in nats))
    bits = [value / 10 / math.log(2) for value in nats]
    error = statistics.stdev(bits) / 2
    assert score.total.bits_per_byte == pytest.approx(statistics.fmean(bits))
    assert score.interval == pytest.approx(
        (statistics.fmean(bits) - 1.96 * error, statistics.fmean(bits) + 1.96 * error), rel=1e-4
    )
    assert SplitScore(parts=(Tally(7.0, 10),)).interval is None
    assert math.isnan(SplitScore(parts=()).total.bits_per_byte)
