"""Data sets on disk: order, places, and files that are missing or damaged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.shards import DataSet, Position, count_documents, documents, read_group, read_texts, row_groups
from nanochat.errors import DamagedError, MissingError, UsageError


def write(path: Path, texts: list[str | None], group: int = 2, column: str = "text") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: pa.array(texts, pa.string())}), path, row_group_size=group)
    return path


def singly(shards: tuple[Path, ...], start: Position | None = None) -> Iterator[tuple[Position, str]]:
    """Every document with its own place."""
    for at, texts in documents(shards, start):
        for i in range(len(texts)):
            yield replace(at, row=at.row + i), texts.part(i, i + 1).data.tobytes().decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set" / "shard_00001.parquet", ["d", "e"])
    write(tmp_path / "set" / "shard_00000.parquet", ["a", "b", "c"])
    write(tmp_path / "set" / "shard_00002.parquet", ["v"])
    return tmp_path / "set"


def test_the_last_shard_is_validation(folder: Path) -> None:
    (folder / "manifest.json").write_text("{}")
    (folder / ".shard_00003.parquet.tmp").write_text("")
    dataset = DataSet.open(folder)
    assert [path.name for path in dataset.train] == ["shard_00000.parquet", "shard_00001.parquet"]
    assert dataset.validation.name == "shard_00002.parquet"
    assert dataset.name == "set"
    assert count_documents(dataset) == 5


def test_row_groups(folder: Path) -> None:
    path = folder / "shard_00000.parquet"
    assert row_groups(path) == 2
    assert [read_group(path, group) for group in range(2)] == [["a", "b"], ["c"]]


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


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_shards(tmp_path: Path, count: int) -> None:
    for number in range(count):
        write(tmp_path / "pocket" / f"shard_{number:05d}.parquet", ["a"])
    with pytest.raises(MissingError, match="pocket") as caught:
        DataSet.open(tmp_path / "pocket")
    assert caught.value.hint == "nanochat data pocket"
    with pytest.raises(MissingError) as caught:
        DataSet.open(tmp_path / "mine")
    assert caught.value.hint == "nanochat data pocket --name mine"


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
    assert "nanochat data pocket" in caught.value.hint


def test_damage_inside_a_row_group_is_named(folder: Path) -> None:
    path = write(folder / "shard_00000.parquet", [f"{n} " * 500 for n in range(20)], group=20)
    whole = bytearray(path.read_bytes())
    whole[40:400] = b"\xff" * 360
    path.write_bytes(whole)
    with pytest.raises(DamagedError, match=r"shard_00000\.parquet"):
        read_group(path, 0)


def test_a_shard_written_anew_is_read_anew(folder: Path) -> None:
    path = folder / "shard_00000.parquet"
    assert read_group(path, 0) == ["a", "b"]
    path.unlink()
    write(path, ["x", "y"])
    assert read_group(path, 0) == ["x", "y"]


def test_nulls_are_empty(folder: Path) -> None:
    path = write(folder / "shard_00000.parquet", ["a", None, "b"], group=3)
    assert read_group(path, 0) == ["a", "", "b"]
    texts = read_texts(path, 0)
    assert (texts.data.tobytes(), texts.offsets.tolist()) == (b"ab", [0, 1, 1, 2])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_every_kind_of_text_column(tmp_path: Path, kind: pa.DataType) -> None:
    words = ["one", "", "drei", None, "one", "한"] * 50
    path = tmp_path / "shard_00000.parquet"
    pq.write_table(pa.table({"text": pa.array(words, pa.string()).cast(kind)}), path, row_group_size=299)
    for group, expected in enumerate((words[:299], words[299:])):
        texts = read_texts(path, group)
        assert texts.data.dtype == np.uint8
        assert texts.offsets.dtype == np.int64
        found = [texts.part(i, i + 1).data.tobytes().decode() for i in range(len(texts))]
        assert found == [word or "" for word in expected]


@pytest.mark.parametrize("values", [[1, 2], [[1], [2]], [b"bytes"]], ids=["numbers", "lists", "bytes"])
def test_a_text_column_without_text_is_damage(tmp_path: Path, values: list) -> None:
    path = tmp_path / "shard_00000.parquet"
    pq.write_table(pa.table({"text": values}), path)
    for read in (read_texts, read_group):
        with pytest.raises(DamagedError, match=r"shard_00000\.parquet .* its text column holds"):
            read(path, 0)


@pytest.mark.parametrize("texts", [[], [""] * 300, [None] * 3])
def test_a_set_without_text_is_refused_and_not_read_for_ever(tmp_path: Path, texts: list[str | None]) -> None:
    shards = (write(tmp_path / "shard_00000.parquet", texts), write(tmp_path / "shard_00001.parquet", texts))
    with pytest.raises(UsageError, match="only empty documents"):
        list(itertools.islice(singly(shards), 10_000))
