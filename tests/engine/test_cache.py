"""The slow twin of cached decoding is the full forward, of the network of training."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from doubles import network_of, random_model, tiny_config
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.config.model import ModelConfig, era_config
from nanochat.engine.cache import LONGEST_PIECE, TAKEN_BACK, KVCache, Piece, row_bytes
from nanochat.engine.model import LanguageModel
from nanochat.engine.network import Network
from nanochat.model.gpt import GPT

LENGTH = 300  # beyond sequence_len (256) and the short window (128)
CPU = torch.device("cpu")


class Reader:
    """Texts of which each is fed piece by piece, and the logits that came of them."""

    def __init__(self, model: LanguageModel, texts: Sequence[Sequence[int]], capacity: int = LENGTH) -> None:
        self.model, self.texts = model, texts
        self.cache = KVCache(model.config, len(texts), capacity, CPU, model.compute_dtype)
        self.logits: list[list[torch.Tensor]] = [[] for _ in texts]

    @torch.inference_mode()
    def feed(self, counts: Sequence[int]) -> None:
        """So many more tokens of each text in one pass."""
        pieces = []
        for row, count in enumerate(counts):
            start = self.cache.lengths[row]
            if ids := self.texts[row][start : start + count]:
                pieces.append(Piece(row, ids, self.texts[row][start - 1] if start else None))
        if not pieces:
            return
        forward = self.cache.begin(pieces)
        made = self.model.logits(self.model.hidden(forward.ids, forward)[0])
        forward.commit()
        begin = 0
        for piece, end in zip(pieces, forward.ends, strict=True):
            self.logits[piece.row].append(made[begin:end])
            begin = end

    def all(self, row: int) -> torch.Tensor:
        return torch.cat(self.logits[row])


def text(length: int = LENGTH, seed: int = 0, vocab: int = 265) -> list[int]:
    return torch.randint(0, vocab, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def whole(model: GPT, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(torch.tensor([ids]))[0]


def agree(got: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.fixture(params=["training", "inference"])
def reading(request: pytest.FixtureRequest, model: GPT) -> LanguageModel:
    return model if request.param == "training" else network_of(model)


def test_token_by_token_equals_full_forward(model: GPT, reading: LanguageModel) -> None:
    reader = Reader(reading, [text()])
    for _ in range(LENGTH):
        reader.feed([1])
    agree(reader.all(0), whole(model, text()))


def test_any_split_equals_full_forward(model: GPT, reading: LanguageModel) -> None:
    full = whole(model, text(seed=1))

    @settings(max_examples=8, deadline=None)
    @given(st.lists(st.integers(1, LONGEST_PIECE), min_size=1, max_size=8))
    def check(counts: list[int]) -> None:
        reader = Reader(reading, [text(seed=1)])
        for count in [*counts, LONGEST_PIECE, LONGEST_PIECE]:
            if reader.cache.lengths[0] < LENGTH:
                reader.feed([count])
        agree(reader.all(0), full)

    check()


def test_texts_in_one_pass_do_not_see_each_other(model: GPT, reading: LanguageModel) -> None:
    texts = [text(length, seed) for seed, length in enumerate((300, 7, 129, 1))]
    reader = Reader(reading, texts)
    for counts in ((250, 3, 1, 0), (1, 1, 100, 1), (30, 1, 1, 0), (1, 2, 27, 0), (18, 0, 0, 0)):
        reader.feed(counts)
    for row, ids in enumerate(texts):
        agree(reader.all(row), whole(model, ids))


@pytest.mark.parametrize("era", ["A", "D"])
def test_one_product_for_all_rows_is_the_same(era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does, here on a CPU whose unwritten memory is made zeros."""
    model = random_model(era)
    texts = [text(length, seed) for seed, length in enumerate((60, 200, 31, 150))]
    reader = Reader(network_of(model), texts)
    for stored in (*reader.cache.keys, *reader.cache.values):
        stored.zero_()
    reader.feed([50, 190, 0, 140])
    begin = reader.cache.begin

    def together(pieces: Sequence[Piece]) -> object:
        forward = begin(pieces)
        assert len(pieces) == 3
        forward._together = True
        return forward

    monkeypatch.setattr(reader.cache, "begin", together)
    for _ in range(10):
        reader.feed([1, 1, 0, 1])
    for row in (0, 1, 3):
        agree(reader.all(row), whole(model, texts[row]))


@settings(max_examples=20, deadline=None)
@given(
    era=st.sampled_from("ABCD"),
    kv_heads=st.sampled_from([1, 2, 4]),
    pattern=st.sampled_from(["S", "L", "SL", "SSSL", "LS"]),
    layers=st.integers(1, 4),
    counts=st.lists(st.tuples(st.integers(0, 256), st.integers(0, 256)), min_size=2, max_size=6),
    seed=st.integers(0, 100),
)
def test_every_shape(
    era: str, kv_heads: int, pattern: str, layers: int, counts: list[tuple[int, int]], seed: int
) -> None:
    pattern = "" if era == "A" else pattern
    model = random_model(era, seed, n_kv_head=kv_heads, window_pattern=pattern, n_layer=layers, sequence_len=384)
    texts = [text(900, seed), text(700, seed + 1)]
    reader = Reader(network_of(model), texts, 900)
    for pair in [*counts, (1, 1)]:
        if any(pair):
            reader.feed(pair)
    for row, ids in enumerate(texts):
        if reader.logits[row]:
            agree(reader.all(row), whole(model, ids[: reader.cache.lengths[row]]))


def test_a_pass_that_is_not_committed_changes_nothing(model: GPT) -> None:
    ids = text()
    reader = Reader(network_of(model), [ids])
    reader.feed([200])
    with torch.inference_mode():
        forward = reader.cache.begin([Piece(0, text(90, seed=5), ids[199])])
        reader.model.hidden(forward.ids, forward)
    assert reader.cache.lengths == [200]
    reader.feed([100])
    agree(reader.all(0), whole(model, ids))


def test_a_text_goes_on_from_an_earlier_place(model: GPT) -> None:
    """Cut and copied rows are as good as read ones, as far back as windows allow."""
    first = text(290, seed=1)
    branch = [*first[:285], *text(15, seed=2)]
    reader = Reader(network_of(model), [first, branch, branch], 320)
    reader.feed([240, 0, 0])
    reader.feed([50, 0, 0])
    cache = reader.cache
    assert cache.can_cut(0, 285)
    cache.copy(0, 1, 285)
    cache.cut(0, 285)
    assert cache.lengths == [285, 285, 0]
    reader.texts[0] = branch  # type: ignore[index]
    reader.feed([1, 1, 0])
    reader.feed([14, 14, 0])
    expected = whole(model, branch)[285:]
    agree(torch.cat(reader.logits[0])[290:], expected)
    agree(reader.all(1), expected)
    cache.cut(0, 0)
    cache.copy(2, 1, 0)
    assert cache.lengths == [0, 0, 0]


def test_windows_keep_only_what_they_see() -> None:
    config = era_config("D", n_layer=4, n_head=2, n_kv_head=2, n_embd=64, sequence_len=4096, vocab_size=90)
    assert config.short_window == 1024
    cache = KVCache(config, 2, 4096, CPU, torch.float32)
    kept = 2 * 1024 + TAKEN_BACK
    assert cache.sizes == {1024: kept, None: 4096}
    assert sum(keys.nbytes for keys in cache.keys) * 2 == 2 * row_bytes(config, 4096, torch.float32)
    assert row_bytes(config, 4096, torch.float32) == 2 * (3 * kept + 4096) * 64 * 4
    for _ in range(12):
        cache.begin([Piece(0, [1] * 256)]).commit()
    assert cache.lengths == [3072, 0]
    assert cache.first(1024, 0) >= 3072 - kept
    assert not cache.can_cut(0, 500) and cache.can_cut(0, 3072 - TAKEN_BACK) and cache.can_cut(0, 0)
    with pytest.raises(ValueError, match="moved on"):
        cache.cut(0, 500)
    with pytest.raises(ValueError, match="does not hold"):
        cache.copy(0, 1, 500)


def test_beyond_the_capacity_is_refused() -> None:
    cache = KVCache(tiny_config(), 1, 8, CPU, torch.float32)
    cache.begin([Piece(0, [1] * 8)]).commit()
    with pytest.raises(ValueError, match="beyond the capacity of 8"):
        cache.begin([Piece(0, [1])])


def test_reserved_memory_costs_nothing_until_it_is_written() -> None:
    import psutil

    config = era_config("D", n_layer=2, n_head=8, n_kv_head=8, n_embd=512, sequence_len=8192, vocab_size=90)
    before = psutil.Process().memory_info().rss
    cache = KVCache(config, 16, 8192, CPU, torch.bfloat16)
    reserved = sum(stored.nbytes for stored in (*cache.keys, *cache.values))
    assert reserved > 800_000_000
    assert psutil.Process().memory_info().rss - before < reserved / 20


@pytest.mark.parametrize("era", ["A", "B", "C", "D"])
def test_parity_weights_decode_to_the_expected_logits(era: str) -> None:
    folder = Path(os.environ.get("NANOCHAT_TEST_DATA", "../shared")) / "parity" / era
    if not folder.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{folder} is missing")
        pytest.skip(f"{folder} is missing")
    from safetensors.torch import load_file

    fields = json.loads((folder / "config.json").read_text())["model_config"]
    known = {name: value for name, value in fields.items() if name in era_config(era).to_dict()}
    config: ModelConfig = era_config(era, **known)
    network = Network(config, load_file(folder / "weights.safetensors"), CPU, torch.float32)
    expected = load_file(folder / "expected.safetensors")
    texts = expected["ids"].tolist()
    length = len(texts[0])
    reader = Reader(network, texts, length)
    while min(reader.cache.lengths) < length:
        reader.feed([min(length // 3, LONGEST_PIECE) if reader.cache.lengths[0] < length - 20 else 1] * len(texts))
    agree(torch.stack([reader.all(row) for row in range(len(texts))]), expected["logits"])
