"""Known sources, the choice of files in other repositories, and what counts as a shard."""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.dataset import DataSet
from nanochat.data.manifest import shard_name
from nanochat.data.sources import (
    SOURCES,
    check_shard,
    choose_files,
    footer_columns,
    shards_for,
    with_validation,
)
from nanochat.errors import DamagedError, MissingError, UsageError


def test_numbers_of_shards() -> None:
    assert shard_name(6542) == "shard_06542.parquet"
    assert with_validation(range(3), 1822, "x") == [0, 1, 2, 1822]
    assert with_validation(range(1800, 1822), 1822, "x")[-2:] == [1821, 1822]
    for shards in (range(1823), range(1822, 1823), range(0)):
        with pytest.raises(UsageError, match="training shards 0 to 1,821"):
            with_validation(shards, 1822, "x")


def test_shards_for_tokens() -> None:
    assert shards_for(1) == range(1)
    assert shards_for(250e6 / 4.8 / 1.05) == range(1)
    assert len(shards_for(11.2e9)) == 226  # of 250M characters: 53.8e9 and 5% to spare


REPOSITORY = [
    "README.md",
    ".gitattributes",
    "data/train-00001-of-00002.parquet",
    "data/train-00000-of-00002.parquet",
    "data/test-00000-of-00001.parquet",
    "notes.txt",
]


@pytest.mark.parametrize(
    ("paths", "subset", "split", "chosen"),
    [
        (REPOSITORY, "", "train", ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]),
        (REPOSITORY, "", "test", ["data/test-00000-of-00001.parquet"]),
        (REPOSITORY, "", "validation", []),
        (REPOSITORY[:2], "", "train", []),
        (["sample/10BT/0.parquet", "sample/100BT/0.parquet"], "sample/10BT", "train", ["sample/10BT/0.parquet"]),
        (["sample/10BT/0.parquet", "sample/100BT/0.parquet"], "10BT", "train", ["sample/10BT/0.parquet"]),
        (["a/b.jsonl", "a/c.jsonl.zst", "a/d.bin"], "", "train", ["a/b.jsonl", "a/c.jsonl.zst"]),
        (["en/c4-train.0.json.gz", "en/c4-validation.0.json.gz"], "en", "train", ["en/c4-train.0.json.gz"]),
        (["en-train.txt", "de-train.txt"], "de", "train", ["de-train.txt"]),
        (["training/x.txt"], "", "", ["training/x.txt"]),
        (
            ["../x.txt", "/etc/x.txt", "a//x.txt", "a\\..\\x.txt", "a\x1b[2J.txt", "a..b/c.txt"],
            "",
            "train",
            ["a..b/c.txt"],
        ),
    ],
)
def test_choice_of_files(paths: list[str], subset: str, split: str, chosen: list[str]) -> None:
    assert choose_files(paths, subset, split) == chosen


def table(column: str) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({column: ["a", "b"] * 5000, "n": range(10_000)}), file, row_group_size=50)
    return file.getvalue()


def test_columns_by_the_footer() -> None:
    data = table("story")
    assert footer_columns(data) == ["story", "n"]
    assert footer_columns(data[-60_000:]) == ["story", "n"]
    assert footer_columns(data[-1000:]) is None
    assert footer_columns(b"<html>") is None
    assert footer_columns(b"") is None


def test_what_is_a_shard(tmp_path: Path) -> None:
    path = tmp_path / ".shard_00000.parquet.part"
    path.write_bytes(table("text"))
    check_shard(path)
    good = path.read_bytes()
    for bad in (b"", b"PAR1", b"PAR1PAR1", good[:-1], b"X" + good[1:], good[:-8] + b"\xff\xff\xff\x7fPAR1"):
        path.write_bytes(bad)
        with pytest.raises(DamagedError, match=r"^shard_00000\.parquet is no shard"):
            check_shard(path)
    path.write_bytes(table("story"))
    with pytest.raises(DamagedError, match="no column text, only story, n"):
        check_shard(path)


@pytest.mark.parametrize("name", SOURCES)
def test_who_has_no_data_is_told_the_command(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        DataSet.open(tmp_path / name)
    assert caught.value.hint == f"nanochat data download --source {name}"
