"""Parameter and FLOP counts."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from nanochat.config.model import ModelConfig, era_config, model_shape
from nanochat.model.gpt import GPT
from nanochat.model.sizes import count_parameters, flops_per_token


@pytest.mark.parametrize(
    ("era", "depth", "vocab", "millions"),
    [("D", 12, 32_768, 286), ("D", 20, 32_768, 897), ("A", 20, 65_536, 561)],
)
def test_known_models(era: str, depth: int, vocab: int, millions: int) -> None:
    counts = count_parameters(era_config(era, vocab_size=vocab, **model_shape(depth)))
    assert round(counts.total / 1e6) == millions


SMALL = [
    era_config("A", vocab_size=300, sequence_len=64, n_layer=3, n_head=4, n_kv_head=2, n_embd=64),
    era_config("B", vocab_size=300, sequence_len=512, n_layer=3, n_head=4, n_kv_head=2, n_embd=64),
    era_config("C", vocab_size=300, sequence_len=512, n_layer=3, n_head=4, n_kv_head=2, n_embd=64),
    era_config("D", vocab_size=300, sequence_len=512, n_layer=3, n_head=4, n_kv_head=2, n_embd=64),
    era_config("D", vocab_size=265, sequence_len=64, n_layer=4, n_head=1, n_kv_head=1, n_embd=32),
    dataclasses.replace(era_config("D", vocab_size=300, n_layer=2, n_embd=64, n_head=2, n_kv_head=1), smear=False),
]


@pytest.mark.parametrize("config", SMALL)
def test_counts_equal_the_network(config: ModelConfig) -> None:
    model = GPT(config)
    counts = count_parameters(config)
    assert counts.total == sum(param.numel() for param in model.parameters())
    blocks = sum(param.numel() for name, param in model.named_parameters() if name.startswith("transformer.h."))
    assert counts.matrices == blocks
    assert counts.scaling == blocks + model.lm_head.weight.numel()


@pytest.mark.parametrize("config", SMALL)
def test_flops_equal_the_linear_layers_and_the_spans(config: ModelConfig) -> None:
    linear = sum(m.weight.numel() for m in GPT(config).modules() if isinstance(m, nn.Linear))
    spans = [min(window or config.sequence_len, config.sequence_len) for window in config.window_sizes()]
    assert flops_per_token(config) == 6 * linear + sum(12 * config.n_embd * span for span in spans)


def test_building_a_large_config_is_free_of_surprises() -> None:
    with torch.device("meta"):
        model = GPT(era_config("D", **model_shape(12)))
    assert sum(param.numel() for param in model.parameters()) == count_parameters(model.config).total
