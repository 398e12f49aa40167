"""Passes over shards: order, places to go on from, and what cannot be read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from shards import damage_group
from shards import write_shard as write

from nanochat.data.dataset import DataSet
from nanochat.data.passes import Damage, Position, documents, one_pass
from nanochat.errors import DamagedError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set" / "shard_00001.parquet", ["d", "e"])
    write(tmp_path / "set" / "shard_00000.parquet", ["a", "b", "c"])
    write(tmp_path / "set" / "shard_00002.parquet", ["v"])
    return tmp_path / "set"


def singly(shards: tuple[Path, ...], start: Position | None = None) -> Iterator[tuple[Position, str]]:
    """Every document with its own place."""
    for at, texts in documents(shards, start):
        for i in range(len(texts)):
            yield replace(at, row=at.row + i), texts.part(i, i + 1).data.tobytes().decode()


def test_documents_go_round_with_their_places(folder: Path) -> None:
    train = DataSet.open(folder).train
    found = list(itertools.islice(singly(train), 12))
    assert "".join(text for _, text in found) == "abcdeabcdeab"
    assert found[2][0] == Position(0, 0, 1, 0)
    assert found[8][0] == Position(1, 1, 0, 0)


@pytest.mark.parametrize("cut", range(12))
def test_any_place_is_a_start(folder: Path, cut: int) -> None:
    train = DataSet.open(folder).train
    whole = list(itertools.islice(singly(train), 20))
    assert list(itertools.islice(singly(train, whole[cut][0]), 8)) == whole[cut : cut + 8]


def test_the_place_behind_the_last_row_is_a_start(folder: Path) -> None:
    train = DataSet.open(folder).train
    assert next(singly(train, Position(0, 1, 0, 2))) == (Position(1, 0, 0, 0), "a")


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "column"])
def test_a_damaged_shard_is_named(folder: Path, damage: str) -> None:
    path = folder / "shard_00001.parquet"
    if damage == "column":
        write(path, ["a"], column="content")
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "noise": b"\x00" * 500, "empty": b""}[damage])
    with pytest.raises(DamagedError, match=r"shard_00001\.parquet") as caught:
        list(itertools.islice(singly(DataSet.open(folder).train), 8))
    assert caught.value.hint == "nanochat data verify set --repair"


@pytest.mark.parametrize("texts", [[], [""] * 300, [None] * 3])
def test_a_set_without_text_is_refused_and_not_read_for_ever(tmp_path: Path, texts: list[str | None]) -> None:
    shards = (write(tmp_path / "shard_00000.parquet", texts), write(tmp_path / "shard_00001.parquet", texts))
    with pytest.raises(UsageError, match="only empty documents"):
        list(itertools.islice(singly(shards), 10_000))


LETTERS = [chr(ord("a") + number) for number in range(20)]


@pytest.fixture
def letters(tmp_path: Path) -> tuple[Path, ...]:
    """Two shards with five groups of two letters each, and two unreadable groups."""
    shards = tuple(
        write(tmp_path / f"shard_{number:05d}.parquet", LETTERS[10 * number : 10 * number + 10]) for number in range(2)
    )
    damage_group(shards[0], 1)
    damage_group(shards[1], 4)
    return shards


def read(shards: tuple[Path, ...], damage: Damage | None, **options: object) -> str:
    return "".join(texts.data.tobytes().decode() for _, texts in one_pass(shards, damage=damage, **options))


def test_unreadable_groups_are_left_out_and_told_once(letters: tuple[Path, ...]) -> None:
    with pytest.raises(DamagedError, match="shard_00000"):
        read(letters, None)
    damage = Damage(2)
    assert read(letters, damage) == "abefghijklmnopqr"
    first, second = damage.untold()
    assert "row group 1 of" in first
    assert "shard_00000.parquet" in first
    assert first.endswith("left out (1 of at most 2)")
    assert "row group 4 of" in second
    assert "shard_00001.parquet" in second
    assert read(letters, damage) == "abefghijklmnopqr"  # the next pass meets the same places
    assert list(damage.untold()) == []
    assert len(damage) == 2


def test_going_on_inside_a_group_that_is_damaged_now(letters: tuple[Path, ...]) -> None:
    assert read(letters, Damage(2), start=Position(0, 0, 1, 1)) == "efghijklmnopqr"


def test_beyond_the_threshold_reading_stops(letters: tuple[Path, ...]) -> None:
    with pytest.raises(DamagedError, match=r"shard_00001.*; 1 other places") as caught:
        read(letters, Damage(1))
    assert "--damage-limit" in caught.value.hint
    with pytest.raises(DamagedError, match="shard_00000"):
        read(letters, Damage(0))


def test_a_shard_without_footer_is_one_place(letters: tuple[Path, ...]) -> None:
    letters[0].write_bytes(letters[0].read_bytes()[:-20])
    damage = Damage(2)
    assert read(letters, damage) == "klmnopqr"
    assert len(damage) == 2


def test_when_nothing_can_be_read_it_is_no_endless_search(letters: tuple[Path, ...]) -> None:
    for group in range(5):
        damage_group(letters[0], group)
    with pytest.raises(DamagedError, match="nothing could be read"):
        list(itertools.islice(documents(letters[:1], damage=Damage(16)), 5))


def test_some_of_the_shards(tmp_path: Path) -> None:
    shards = tuple(write(tmp_path / f"shard_{number:05d}.parquet", [str(number)]) for number in range(5))
    assert read(shards, None, among=range(1, 4)) == "123"
    for seed in range(5):
        assert sorted(read(shards, None, among=range(2, 5), seed=seed)) == ["2", "3", "4"]
    with pytest.raises(DamagedError, match="gone since the checkpoint"):
        read(shards, None, among=range(1, 4), start=Position(0, 4, 0, 0))
