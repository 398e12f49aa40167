"""Several data sets by weight: shares, order, going on, validation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import tiny_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import damage_group, write_shard

from nanochat.data.loader import RowLoader, mixed_validation_rows
from nanochat.data.mixture import TextMixture
from nanochat.data.passes import Damage
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.paths import resolve_paths

TOKENIZER = tiny_tokenizer()  # ids are bytes


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets of one letter each, in documents of very different lengths."""
    folder = tmp_path_factory.mktemp("base")
    for letter, longest, count in (("a", 7, 90), ("b", 150, 60), ("c", 1500, 12)):
        for number in range(3):
            texts = [letter * (1 + (17 * row + number) % longest) for row in range(count)]
            write_shard(folder / "data" / letter / f"shard_{number:05d}.parquet", texts, group=10)
    return folder


def mixture(base: Path, text: str) -> TextMixture:
    return TextMixture.open(resolve_paths(str(base), {}), text)


def loader_of(text: TextMixture, **options: Any) -> RowLoader:
    options = {"seed": 1, "buffer": 40, **options}
    return RowLoader(text.shards, TOKENIZER, 63, portions=text.portions, **options)


def shares(rows: np.ndarray) -> dict[str, float]:
    """Letters of the text, by their part of it."""
    letters, counts = np.unique(rows[rows < 256], return_counts=True)
    return {chr(letter): count / counts.sum() for letter, count in zip(letters, counts, strict=True)}


@settings(max_examples=15, deadline=None)
@given(weights=st.lists(st.integers(1, 9), min_size=3, max_size=3))
def test_shares_hold(base: Path, weights: list[int]) -> None:
    text = mixture(base, ",".join(f"{name}:{weight}" for name, weight in zip("abc", weights, strict=True)))
    rows = loader_of(text).rows(1500)
    taken = {name: np.count_nonzero(rows == ord(name)) for name in "abc"}
    # every document of a has a bos too, about one token in five: count it where it is
    taken["a"] += np.count_nonzero(rows[:, 1:][rows[:, :-1] == TOKENIZER.bos] == ord("a"))
    for name, weight in zip("abc", weights, strict=True):
        assert taken[name] / sum(taken.values()) == pytest.approx(weight / sum(weights), abs=0.04)


def test_one_of_a_mixture_is_the_data_set_itself(base: Path) -> None:
    alone = mixture(base, "b")
    assert np.array_equal(loader_of(alone).rows(50), RowLoader(alone.shards, TOKENIZER, 63, seed=1, buffer=40).rows(50))
    assert alone.documents() == 120


@pytest.mark.parametrize("before", [1, 37, 400])
def test_going_on_is_exact_for_any_number_of_processes(base: Path, before: int) -> None:
    text = mixture(base, "a:1,b:2,c:0.5")
    first = loader_of(text)
    first.rows(before)
    state = json.loads(json.dumps(first.state()))
    following = first.rows(64)
    assert np.array_equal(loader_of(text, state=state).rows(64), following)
    for keep in (range(0, 32), range(32, 64)):
        assert np.array_equal(loader_of(text, state=state).rows(64, keep), following[keep.start : keep.stop])


def test_validation_has_the_same_shares(base: Path) -> None:
    text = mixture(base, "a:1,b:3")
    rows = np.concatenate(list(mixed_validation_rows(text, TOKENIZER, 15, 800)))
    assert len(rows) == pytest.approx(800 / 15, abs=2)
    found = shares(rows)
    assert found["b"] / found["a"] == pytest.approx(3, rel=0.4)  # a has more bos among its tokens


def test_damage_in_one_of_them_leaves_the_shares(base: Path, tmp_path: Path) -> None:
    for name in "ab":
        for path in (base / "data" / name).iterdir():
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "data" / name / path.name).write_bytes(path.read_bytes())
    text = mixture(tmp_path, "a:1,b:1")
    damage_group(text.parts[1][0].train[0], 2)
    damage = Damage(4)
    rows = loader_of(text, damage=damage).rows(600)
    assert shares(rows)["b"] == pytest.approx(0.55, abs=0.05)
    (line,) = damage.untold()
    assert "row group 2" in line


def test_pieces_that_are_damaged_since_the_checkpoint_are_left_out(base: Path, tmp_path: Path) -> None:
    for path in (base / "data" / "b").iterdir():
        (tmp_path / "data" / "b").mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "b" / path.name).write_bytes(path.read_bytes())
    text = mixture(tmp_path, "b")
    first = loader_of(text, seed=None)
    first.rows(10)
    state = first.state()
    damage_group(text.shards[0], 1)
    damage = Damage(4)
    assert loader_of(text, seed=None, state=state, damage=damage).rows(20).shape == (20, 64)
    assert len(damage) == 1


@pytest.mark.parametrize("text", ["", "a:", "a:0", "a:-1", "a:x", "a:inf", ",a", "a,a", "a:nan"])
def test_what_is_no_mixture(base: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        mixture(base, text)
    assert "fineweb-edu:0.9,mine:0.1" in caught.value.hint


def test_a_data_set_that_is_not_there(base: Path) -> None:
    with pytest.raises(MissingError, match="'none'"):
        mixture(base, "a:1,none:1")
