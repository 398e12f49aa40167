"""The pocket corpus on disk: whole, the same again, and mended when damaged."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nanochat.data import pocket
from nanochat.data.dataset import DataSet
from nanochat.data.listing import describe
from nanochat.data.manifest import read_manifest
from nanochat.data.pocket import write_pocket
from nanochat.errors import MissingError, StorageError, UsageError
from nanochat.runtime.files import sha256_file


def written(directory: Path, size_bytes: int = 1_500_000, seed: int = 0, **options) -> list[Path]:
    return write_pocket(directory, size_bytes=size_bytes, seed=seed, shard_bytes=700_000, **options)


def test_shards_manifest_and_validation(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    paths = written(tmp_path, on_progress=lambda done, total: progress.append((done, total)))
    assert [path.name for path in paths] == [f"shard_{i:05d}.parquet" for i in range(len(paths))]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [manifest["files"][path.name]["split"] for path in paths] == ["train", "train", "train", "val"]
    assert progress[-1] == (1_500_000, 1_500_000)
    total = 0
    for path in paths:
        entry = manifest["files"][path.name]
        assert (entry["size_bytes"], entry["sha256"]) == (path.stat().st_size, sha256_file(path))
        file = pq.ParquetFile(path)
        assert file.schema_arrow.names == ["text"]
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        assert all(size == 1_024 for size in sizes[:-1])
        total += sum(len(text.encode()) for text in file.read()["text"].to_pylist())
    assert 0 <= total - 1_500_000 < 1_500 * len(paths)
    assert not list(tmp_path.glob(".*"))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second, other = (
        [path.read_bytes() for path in written(tmp_path / str(i), 300_000, seed)] for i, seed in enumerate((0, 0, 1))
    )
    assert first == second
    assert first != other


def test_a_complete_corpus_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = written(tmp_path, 300_000)
    monkeypatch.setattr(pocket, "_write_shard", lambda *_: pytest.fail("written again"))
    assert written(tmp_path, 300_000) == paths


def test_a_damaged_shard_is_written_again(tmp_path: Path) -> None:
    paths = written(tmp_path, 300_000)
    before = paths[0].read_bytes()
    paths[0].write_bytes(before[:-10])
    assert written(tmp_path, 300_000)[0].read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version": 1}', None])
def test_shards_that_may_be_others_are_left_alone(tmp_path: Path, text: str | None) -> None:
    written(tmp_path, 100_000)
    (tmp_path / "manifest.json").unlink()
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="no manifest of theirs"):
        written(tmp_path, 200_000)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_data_set_is_left_alone(tmp_path: Path) -> None:
    written(tmp_path, 100_000)
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    replace(manifest, made_by="nanochat data import notes", origin={"import": {}}).save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError, match="made by: nanochat data import notes"):
        written(tmp_path, 100_000)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_another_size_replaces_all_shards(tmp_path: Path) -> None:
    written(tmp_path, 1_500_000)
    (tmp_path / ".shard_00009.parquet.tmp").write_text("left by a killed run")
    paths = written(tmp_path, 300_000)
    assert sorted(tmp_path.iterdir()) == sorted([*paths, tmp_path / "manifest.json"])


def test_a_run_cut_short_is_no_data_set_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pocket._write_shard

    def stop_at_second(path: Path, *rest):
        if path.name == "shard_00001.parquet":
            raise KeyboardInterrupt
        return whole(path, *rest)

    monkeypatch.setattr(pocket, "_write_shard", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"shard_00000.parquet", "manifest.json"}
    with pytest.raises(MissingError, match="lacks") as caught:
        DataSet.open(tmp_path)
    assert caught.value.hint.startswith("nanochat data pocket --name")
    assert describe(tmp_path).state == "incomplete"
    monkeypatch.undo()
    assert len(written(tmp_path)) == 4


def test_a_full_disk_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pocket.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        written(tmp_path, 100_000)
    assert not list(tmp_path.iterdir())


def test_sizes_must_be_positive(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="positive"):
        written(tmp_path, 0)
