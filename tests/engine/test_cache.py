"""The slow twin of cached decoding is the full forward."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from doubles import tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.config.model import era_config
from nanochat.engine.cache import KVCache
from nanochat.model.gpt import GPT

LENGTH = 300  # beyond sequence_len (256) and the short window (128)


def make_cache(model: GPT, batch: int, capacity: int = 1) -> KVCache:
    return KVCache(model.config, batch, capacity, model.device, model.compute_dtype)


def text(batch: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 265, (batch, length), generator=torch.Generator().manual_seed(seed))


def in_chunks(model: GPT, ids: torch.Tensor, cuts: list[int]) -> torch.Tensor:
    cache = make_cache(model, ids.size(0))
    chunks = torch.tensor_split(ids, cuts, dim=1)
    with torch.inference_mode():
        return torch.cat([model(chunk, cache=cache) for chunk in chunks if chunk.size(1)], dim=1)


def test_token_by_token_equals_full_forward(model: GPT) -> None:
    ids = text(2, LENGTH)
    with torch.inference_mode():
        torch.testing.assert_close(in_chunks(model, ids, list(range(1, LENGTH))), model(ids), atol=1e-4, rtol=0)


def test_any_split_equals_full_forward(model: GPT) -> None:
    ids = text(1, LENGTH, seed=1)
    with torch.inference_mode():
        full = model(ids)

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.integers(1, LENGTH - 1), max_size=6))
    def check(cuts: list[int]) -> None:
        torch.testing.assert_close(in_chunks(model, ids, sorted(cuts)), full, atol=1e-4, rtol=0)

    check()


@pytest.mark.parametrize("lengths", [[300, 7, 129, 128], [1, 2, 3, 4], [5, 5, 5, 5]])
def test_padded_prefill_and_decode_equal_each_row_alone(model: GPT, lengths: list[int]) -> None:
    ids, more = text(4, max(lengths), seed=2), text(4, 70, seed=3)
    cache = make_cache(model, 4, max(lengths))
    with torch.inference_mode():
        hidden = model.hidden(ids, cache, torch.tensor(lengths))
        steps = torch.cat([model.hidden(more[:, i : i + 1], cache) for i in range(70)], dim=1)
        for row, length in enumerate(lengths):
            alone = model.hidden(torch.cat((ids[row, :length], more[row]))[None])[0]
            torch.testing.assert_close(hidden[row, :length], alone[:length], atol=1e-4, rtol=0)
            torch.testing.assert_close(steps[row], alone[length:], atol=1e-4, rtol=0)


def test_rows_leave_and_the_rest_goes_on(model: GPT) -> None:
    ids, more = text(4, 40, seed=4), text(4, 30, seed=5)
    lengths = [40, 3, 20, 11]
    cache = make_cache(model, 4)
    with torch.inference_mode():
        model.hidden(ids, cache, torch.tensor(lengths))
        model.hidden(more[:, :10], cache)
        cache.select([1, 3])
        assert cache.batch == 2 and cache.counts == (13, 21)
        rest = model.hidden(more[[1, 3], 10:], cache)
        for index, row in enumerate((1, 3)):
            alone = model.hidden(torch.cat((ids[row, : lengths[row]], more[row]))[None])[0, -20:]
            torch.testing.assert_close(rest[index], alone, atol=1e-4, rtol=0)


def test_expand_copies_one_prefill_into_independent_rows(model: GPT) -> None:
    ids, more = text(1, 50, seed=6), text(3, 30, seed=7)
    with torch.inference_mode():
        single = make_cache(model, 1)
        model.hidden(ids, single)
        cache = single.expand(3)
        got = model.hidden(more, cache)
        expected = model.hidden(torch.cat((ids.expand(3, -1), more), dim=1))[:, 50:]
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
        assert single.counts == (50,)
        with pytest.raises(ValueError, match="one row"):
            cache.expand(2)


def test_a_row_that_gets_no_token_keeps_its_state(model: GPT) -> None:
    ids, more = text(2, 20, seed=8), text(2, 4, seed=9)
    cache = make_cache(model, 2)
    with torch.inference_mode():
        model.hidden(ids, cache)
        model.hidden(more, cache, torch.tensor([4, 0]))
        last = model.hidden(more, cache)
        alone = [torch.cat((ids[0], more[0], more[0])), torch.cat((ids[1], more[1]))]
        for row in range(2):
            torch.testing.assert_close(last[row], model.hidden(alone[row][None])[0, -4:], atol=1e-4, rtol=0)


def test_capacity_doubles_and_only_the_used_part_is_returned() -> None:
    config = tiny_config(n_layer=2)
    cache = KVCache(config, 2, 10, torch.device("cpu"), torch.bfloat16)
    assert cache.capacity == 64
    k = torch.ones(2, 65, 1, 32, dtype=torch.bfloat16)
    for layer in range(2):
        stored, _ = cache.extend(layer, k, k)
        assert stored.shape == (2, 65, 1, 32)
    assert cache.capacity == 128
    cache.advance(torch.zeros(2, 65, 32), None)
    assert cache.positions.tolist() == [65, 65]


def test_mask_is_the_definition() -> None:
    cache = KVCache(tiny_config(), 2, 8, torch.device("cpu"), torch.float32)
    cache.advance(torch.zeros(2, 5, 32), torch.tensor([5, 2]))
    mask = cache.mask(2, 3)
    assert mask.shape == (2, 1, 2, 7)
    for row, count in enumerate((5, 2)):
        for i in range(2):
            for j in range(7):
                assert mask[row, 0, i, j].item() == (j <= count + i and count + i - j <= 3)
    assert cache.mask(2, 3) is mask, "one mask for all layers of a step"


@pytest.mark.parametrize("era", ["A", "D"])
def test_parity_weights_decode_to_the_expected_logits(era: str) -> None:
    folder = Path(os.environ.get("NANOCHAT_TEST_DATA", "../shared")) / "parity" / era
    if not folder.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} is missing")
        pytest.skip(f"{folder} is missing")
    from safetensors.torch import load_file

    fields = json.loads((folder / "config.json").read_text())["model_config"]
    known = {name: value for name, value in fields.items() if name in era_config(era).to_dict()}
    model = GPT(era_config(era, **known))
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    expected = load_file(folder / "expected.safetensors")
    ids = expected["ids"]
    got = in_chunks(model, ids, [ids.size(1) // 3, *range(ids.size(1) - 20, ids.size(1))])
    torch.testing.assert_close(got, expected["logits"], atol=1e-4, rtol=0)
