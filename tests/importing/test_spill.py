"""Documents come back in the order of their keys, whatever the order they went in and however many runs they make."""

from __future__ import annotations

import random
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.importing import spill as module
from nanochat.importing.spill import Amount, Spill, keys_of, spread_duplicates


def array(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def through(path: Path, texts: list[str], lot: int, unique: bool, seed: int = 0) -> list[str]:
    with Spill(path, unique=unique) as spill:
        for at in range(0, len(texts), lot):
            some = array(texts[at : at + lot])
            spill.add(keys_of(some, seed), some)
        spill.flush()
        found = [text for _, part in spill.in_order() for text in part.to_pylist()]
        total = spill.total()
        assert total == Amount(len(found), sum(len(text.encode()) for text in found))
        assert spill.added == Amount(len(texts), sum(len(text.encode()) for text in texts))
        keys = [tuple(key) for part, _ in spill.in_order() for key in part.tolist()]
        assert keys == sorted(keys)
        assert keys == [tuple(key) for key in keys_of(array(found), seed).tolist()] if found else not keys
    return found


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a few documents and ranges of a few bytes."""
    monkeypatch.setattr(module, "RUN_BYTES", 500)
    monkeypatch.setattr(module, "_RANGE_BYTES", 60)


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=60),
    lot=st.integers(1, 20),
    seed=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_it_is_a_permutation_that_depends_on_texts_and_seed_alone(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], lot: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("spill") / "runs"
    usual = module.RUN_BYTES, module._RANGE_BYTES
    module.RUN_BYTES, module._RANGE_BYTES = 500, 60
    try:
        found = through(path, texts, lot, False, seed)
        unique = through(path, texts, lot, True, seed)
        shuffled = random.Random(1).sample(texts, len(texts))
        assert through(path, shuffled, 7, True, seed) == unique
        assert through(path, shuffled, 7, False, seed) == found
    finally:
        module.RUN_BYTES, module._RANGE_BYTES = usual
    assert sorted(found) == sorted(texts)
    assert sorted(unique) == sorted(set(texts))
    assert list(dict.fromkeys(found)) == unique


def test_many_runs_and_ranges(tmp_path: Path, small: None) -> None:
    texts = [f"text {number}" for number in range(3_000)]
    found = through(tmp_path / "runs", texts, 50, True)
    assert sorted(found) == sorted(texts)
    assert found != texts
    assert through(tmp_path / "runs", texts, 50, True, seed=1) != found
    # neighbours stay none: a shuffle, not a rotation
    numbers = [int(text.split()[1]) for text in found]
    assert sum(abs(a - b) == 1 for a, b in pairwise(numbers)) < 20


def test_equal_texts_in_all_runs_are_one(tmp_path: Path, small: None) -> None:
    assert sorted(through(tmp_path / "runs", ["a" * 200, "b"] * 500, 10, True)) == ["a" * 200, "b"]


def test_kept_duplicates_lie_apart(tmp_path: Path, small: None) -> None:
    texts = [f"text {number % 100}" for number in range(1_000)]

    def spread(texts: list[str]) -> list[str]:
        with Spill(tmp_path / "runs", unique=False) as spill:
            for at in range(0, len(texts), 70):
                some = array(texts[at : at + 70])
                spill.add(keys_of(some, 0), some)
            spill.flush()
            with spread_duplicates(spill, tmp_path / "spread") as again:
                return [text for _, part in again.in_order() for text in part.to_pylist()]

    found = spread(texts)
    assert sorted(found) == sorted(texts)
    assert sum(a == b for a, b in pairwise(found)) < 40
    assert spread(texts[::-1]) == found


def test_slices_of_arrays(tmp_path: Path) -> None:
    whole = array(["zero", "one", "", "three", "four"])
    part = whole.slice(1, 3)
    assert keys_of(part, 5).tolist() == keys_of(array(["one", "", "three"]), 5).tolist()
    with Spill(tmp_path / "runs", unique=True) as spill:
        spill.add(keys_of(part, 5), part)
        spill.flush()
        ((_, texts),) = spill.in_order()
    assert sorted(texts.to_pylist()) == ["", "one", "three"]


def test_nothing(tmp_path: Path) -> None:
    assert through(tmp_path / "runs", [], 1, True) == []


def test_the_order_is_that_of_keyed_hashes(tmp_path: Path) -> None:
    texts = [*"abcdefgh", "한국어"]
    expected = sorted(texts, key=lambda text: blake2b(text.encode(), key=b"7", digest_size=16).digest())
    assert through(tmp_path / "runs", texts, 3, True, seed=7) == expected
