"""Shards: row groups, columns of every kind, groups larger than memory should hold, damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shards import write_shard as write

from nanochat.data.shards import Texts, count_rows, read_group, read_texts, row_groups
from nanochat.errors import DamagedError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set" / "shard_00001.parquet", ["d", "e"])
    write(tmp_path / "set" / "shard_00000.parquet", ["a", "b", "c"])
    write(tmp_path / "set" / "shard_00002.parquet", ["v"])
    return tmp_path / "set"


def whole(path: Path, group: int) -> Texts:
    """A group that comes in one part."""
    ((first, texts),) = read_texts(path, group)
    assert first == 0
    return texts


def test_row_groups(folder: Path) -> None:
    path = folder / "shard_00000.parquet"
    assert (row_groups(path), count_rows(path)) == (2, 3)
    assert [read_group(path, group) for group in range(2)] == [["a", "b"], ["c"]]


def test_damage_inside_a_row_group_is_named(folder: Path) -> None:
    path = write(folder / "shard_00000.parquet", [f"{n} " * 500 for n in range(20)], group=20)
    data = bytearray(path.read_bytes())
    data[40:400] = b"\xff" * 360
    path.write_bytes(data)
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
    texts = whole(path, 0)
    assert (texts.data.tobytes(), texts.offsets.tolist()) == (b"ab", [0, 1, 1, 2])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_every_kind_of_text_column(tmp_path: Path, kind: pa.DataType) -> None:
    words = ["one", "", "drei", None, "one", "한"] * 50
    path = tmp_path / "shard_00000.parquet"
    pq.write_table(pa.table({"text": pa.array(words, pa.string()).cast(kind)}), path, row_group_size=299)
    for group, expected in enumerate((words[:299], words[299:])):
        texts = whole(path, group)
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
            list(read(path, 0))


@pytest.mark.parametrize("first", [0, 1, 4, 17, 49, 50, 60])
@pytest.mark.parametrize("part_bytes", [1, 300, 10**6])
def test_a_group_in_parts_is_the_same_group(tmp_path: Path, first: int, part_bytes: int) -> None:
    words = [f"{n} word" * (n % 7) for n in range(50)]
    path = write(tmp_path / "shard_00000.parquet", words, group=50)
    parts = list(read_texts(path, 0, first, part_bytes=part_bytes))
    assert part_bytes > 300 or first >= 49 or len(parts) > 1
    found = {}
    for number, texts in parts:
        for row in range(len(texts)):
            assert number + row not in found
            found[number + row] = texts.part(row, row + 1).data.tobytes().decode()
    assert found == {row: word for row, word in enumerate(words) if row >= first}


READ_ALL = """
import resource, sys
from pathlib import Path
import pyarrow.parquet, numpy
from nanochat.data.shards import read_texts
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small, large = map(Path, sys.argv[1:])
list(read_texts(small, 0))
before = peak()
size = sum(len(texts.data) for _, texts in read_texts(large, 0, part_bytes=8_000_000))
print(size, peak() - before)
"""


def test_a_group_of_any_size_takes_bounded_memory(tmp_path: Path) -> None:
    small = write(tmp_path / "small.parquet", ["a"])
    large = tmp_path / "large.parquet"
    text = pa.array([f"{n:>8}" * 2_000 for n in range(16_000)])  # 256 MB
    pq.write_table(pa.table({"text": text}), large, row_group_size=16_000, use_dictionary=False)
    del text
    command = [sys.executable, "-c", READ_ALL, str(small), str(large)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    size, memory = map(int, done.stdout.split())
    assert size == 256_000_000
    assert memory < 80_000_000
