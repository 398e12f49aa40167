"""Data sets: which shards there are, which is for validation, and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from shards import write_shard as write

from nanochat.data.dataset import DataSet, count_documents
from nanochat.data.manifest import DataManifest, ShardEntry, read_manifest
from nanochat.errors import DamagedError, MissingError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set" / "shard_00001.parquet", ["d", "e"])
    write(tmp_path / "set" / "shard_00000.parquet", ["a", "b", "c"])
    write(tmp_path / "set" / "shard_00002.parquet", ["v"])
    return tmp_path / "set"


def test_the_last_shard_is_validation(folder: Path) -> None:
    (folder / ".shard_00003.parquet.tmp").write_text("")
    dataset = DataSet.open(folder)
    assert [path.name for path in dataset.train] == ["shard_00000.parquet", "shard_00001.parquet"]
    assert dataset.validation.name == "shard_00002.parquet"
    assert dataset.name == "set"
    assert count_documents(dataset) == 5


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_shards(tmp_path: Path, count: int) -> None:
    for number in range(count):
        write(tmp_path / "pocket" / f"shard_{number:05d}.parquet", ["a"])
    with pytest.raises(MissingError, match="pocket") as caught:
        DataSet.open(tmp_path / "pocket")
    assert caught.value.hint == "nanochat data pocket"
    with pytest.raises(MissingError) as caught:
        DataSet.open(tmp_path / "mine")
    assert caught.value.hint == "nanochat data import PATH --name mine"


def manifest(train: list[int], validation: int, listed: bool = True) -> DataManifest:
    def name(number: int) -> str:
        return f"shard_{number:05d}.parquet"

    files = {name(number): ShardEntry(size_bytes=1, sha256="0", split="train") for number in train}
    if listed:
        files[name(validation)] = ShardEntry(size_bytes=1, sha256="0", split="val")
    return DataManifest(name="set", made_by="nanochat make-it", validation=name(validation), files=files)


def test_the_manifest_names_the_validation_shard_whatever_is_there(folder: Path) -> None:
    manifest([0, 2], 1).save(folder)
    dataset = DataSet.open(folder)
    assert [path.name for path in dataset.train] == ["shard_00000.parquet", "shard_00002.parquet"]
    assert dataset.validation.name == "shard_00001.parquet"
    manifest([2], 1).save(folder)  # what it does not list is not part of the set
    assert [path.name for path in DataSet.open(folder).train] == ["shard_00002.parquet"]


@pytest.mark.parametrize("listed", [True, False])
def test_what_a_manifest_names_and_is_not_there(folder: Path, listed: bool) -> None:
    manifest([0, 1], 7, listed).save(folder)
    with pytest.raises(MissingError, match=r"lacks shard_00007\.parquet") as caught:
        DataSet.open(folder)
    assert caught.value.hint == "nanochat make-it"
    manifest([0, 5], 1).save(folder)
    with pytest.raises(MissingError, match=r"lacks shard_00005\.parquet"):
        DataSet.open(folder)
    manifest([], 1).save(folder)
    with pytest.raises(MissingError, match="nothing but its validation shard"):
        DataSet.open(folder)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "no json",
        '{"name": "a", "made_by": "b", "validation": "../shard", "files": {}}',
        '{"name": "a", "made_by": "b", "validation": "v", "files": {"/etc/passwd": {}}}',
        '{"name": "a", "made_by": "b", "validation": "v", "files": {"x": {"size_bytes": 1}}}',
    ],
)
def test_a_manifest_that_is_none(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DamagedError, match=r"manifest\.json is not the manifest of a data set"):
        DataSet.open(folder)


def test_a_manifest_comes_back(folder: Path) -> None:
    made = manifest([0, 1], 2)
    made.save(folder)
    assert read_manifest(folder) == made
    assert read_manifest(folder.parent) is None
