"""The shape of a model: derived values, and sizes that cannot work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from nanochat.config.model import ERAS, ModelConfig, era_config, model_shape
from nanochat.errors import UsageError


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"n_embd": 770, "n_head": 6}, ["n_embd (770)", "n_head (6)"]),
        ({"n_embd": 33, "n_head": 11, "n_kv_head": 11}, ["head_dim (3)"]),
        ({"n_head": 6, "n_kv_head": 4}, ["n_head (6)", "n_kv_head (4)"]),
        ({"window_pattern": "SXL"}, ["window_pattern", "SXL"]),
        ({"n_layer": 0}, ["n_layer (0)"]),
        ({"vocab_size": -1}, ["vocab_size (-1)"]),
        ({"sequence_len": 0}, ["sequence_len (0)"]),
        ({"n_kv_head": 0}, ["n_kv_head (0)"]),
    ],
)
def test_impossible_sizes_are_named_with_a_way_out(values: dict[str, Any], names: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        ModelConfig(**values)
    assert all(name in caught.value.message for name in names)
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_the_way_out_works() -> None:
    with pytest.raises(UsageError, match="n_embd") as caught:
        ModelConfig(n_embd=770, n_head=6, n_kv_head=6)
    assert "768" in caught.value.hint
    ModelConfig(n_embd=768, n_head=6, n_kv_head=6)


@pytest.mark.parametrize("era", ERAS)
def test_round_trip_through_json(era: str) -> None:
    config = era_config(era, sequence_len=256, vocab_size=500, n_layer=3, n_head=4, n_kv_head=2, n_embd=64)
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_keys_are_named() -> None:
    with pytest.raises(UsageError, match="bigram_lambda"):
        ModelConfig.from_dict({**ModelConfig().to_dict(), "bigram_lambda": 1})


def test_unknown_era() -> None:
    with pytest.raises(UsageError, match="'E'"):
        era_config("E")


@pytest.mark.parametrize(
    ("length", "short"), [(128, 128), (256, 128), (512, 128), (513, 256), (1024, 256), (2048, 512), (2304, 640)]
)
def test_short_window_is_a_quarter_rounded_up_to_128(length: int, short: int) -> None:
    assert ModelConfig(sequence_len=length).short_window == short


@pytest.mark.parametrize(
    ("era", "length", "short"),
    [("B", 128, 64), ("B", 2048, 1024), ("B", 129, 64), ("C", 384, 128), ("C", 512, 256), ("C", 2048, 768)],
)
def test_short_windows_of_older_eras(era: str, length: int, short: int) -> None:
    assert era_config(era, sequence_len=length).short_window == short


def test_windows_are_tiled_and_the_last_layer_is_long() -> None:
    assert ModelConfig(n_layer=6).window_sizes() == (512, 512, 512, 2048, 512, 2048)
    assert ModelConfig(n_layer=3, window_pattern="l").window_sizes() == (2048,) * 3
    assert era_config("A", n_layer=2).window_sizes() == (None, None)


def test_value_embeddings_sit_in_every_second_layer_up_to_the_last() -> None:
    assert [ModelConfig(n_layer=5).has_value_embed(i) for i in range(5)] == [True, False, True, False, True]
    assert [ModelConfig(n_layer=4).has_value_embed(i) for i in range(4)] == [False, True, False, True]
    assert not any(era_config("A").has_value_embed(i) for i in range(12))


@pytest.mark.parametrize(("vocab", "padded"), [(265, 320), (320, 320), (32_768, 32_768)])
def test_padded_vocabulary(vocab: int, padded: int) -> None:
    assert ModelConfig(vocab_size=vocab).padded_vocab == padded
    assert era_config("A", vocab_size=vocab).padded_vocab == vocab


@pytest.mark.parametrize(
    ("depth", "head_dim", "embd", "heads"),
    [(12, 128, 768, 6), (20, 128, 1280, 10), (13, 128, 896, 7), (4, 64, 256, 4), (1, 128, 128, 1), (1, 64, 64, 1)],
)
def test_one_dial(depth: int, head_dim: int, embd: int, heads: int) -> None:
    shape = model_shape(depth, head_dim=head_dim)
    assert shape == {"n_layer": depth, "n_embd": embd, "n_head": heads, "n_kv_head": heads}


@pytest.mark.parametrize("values", [{"depth": 0}, {"depth": 4, "head_dim": 0}, {"depth": 4, "aspect_ratio": 0}])
def test_impossible_dials(values: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be positive") as caught:
        model_shape(**values)
    assert "--depth" in caught.value.hint
