"""What is told of data sets, with a manifest and without, whole and damaged."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.listing import choose_documents, describe, list_data_sets, open_folder, search
from nanochat.data.manifest import DataManifest, ShardEntry
from nanochat.errors import MissingError
from nanochat.runtime.files import sha256_file
from nanochat.runtime.paths import Paths


def shard(folder: Path, number: int, texts: list[str | None], group: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"shard_{number:05d}.parquet"
    pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), path, row_group_size=group)
    return path


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(base=tmp_path, cache=tmp_path / "cache")


@pytest.fixture
def folder(paths: Paths) -> Path:
    folder = paths.data("mine")
    shard(folder, 0, ["one fish", "two fish", "red fish"])
    shard(folder, 1, ["blue", None, "fis", "h fish fish"])
    return folder


def manifest(folder: Path, **changes: object) -> DataManifest:
    files = {
        path.name: ShardEntry(
            size_bytes=path.stat().st_size, sha256=sha256_file(path), split="train", documents=10, text_bytes=70
        )
        for path in sorted(folder.glob("*.parquet"))
    }
    made = DataManifest(
        name="mine", made_by="nanochat data pocket", validation=next(iter(files)), origin={"pocket": {}}, files=files
    )
    made.save(folder)
    return made


def test_without_a_manifest_footers_tell(folder: Path) -> None:
    details = describe(folder)
    assert (details.documents, details.state, details.source, details.made_by) == (7, "ok", "", "")
    assert [(entry.name, entry.split) for entry in details.shards] == [
        ("shard_00000.parquet", "train"),
        ("shard_00001.parquet", "val"),
    ]
    assert details.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert 0 < (details.text_bytes or 0) < 500


def test_a_manifest_is_believed(folder: Path) -> None:
    manifest(folder)
    details = describe(folder)
    assert (details.documents, details.text_bytes, details.source) == (20, 140, "pocket")
    assert [entry.split for entry in details.shards] == ["val", "train"]


def test_states(folder: Path) -> None:
    manifest(folder)
    (folder / "shard_00000.parquet").unlink()
    assert describe(folder).state == "incomplete"
    (folder / "shard_00001.parquet").write_bytes(b"x")
    details = describe(folder)
    assert (details.state, [entry.state for entry in details.shards]) == ("damaged", ["missing", "damaged"])
    (folder / "manifest.json").write_text("{")
    assert describe(folder).state == "damaged"
    assert describe(folder).documents is None


def test_lists_and_names(folder: Path, paths: Paths) -> None:
    (paths.base / "data" / "empty").mkdir()
    (paths.base / "data" / ".mine.importing").mkdir()
    (paths.base / "data" / "file").write_text("x")
    assert [entry.name for entry in list_data_sets(paths)] == ["mine"]
    assert open_folder(paths, "mine") == folder
    with pytest.raises(MissingError, match="'other'") as caught:
        open_folder(paths, "other")
    assert "mine" in caught.value.hint
    assert list_data_sets(Paths(base=paths.base / "nowhere", cache=paths.cache)) == []


def test_documents_by_chance(folder: Path) -> None:
    found = choose_documents(folder, 5, seed=1)
    assert len({(one.shard, one.row_group, one.row) for one in found}) == 5
    assert choose_documents(folder, 5, seed=1) == found
    assert choose_documents(folder, 5, seed=2) != found
    everything = choose_documents(folder, 100, seed=0)
    assert sorted(one.text for one in everything) == sorted(
        ["one fish", "two fish", "red fish", "blue", "", "fis", "h fish fish"]
    )
    for one in everything:
        group = pq.ParquetFile(folder / one.shard).read_row_group(one.row_group)["text"].to_pylist()
        assert (group[one.row] or "") == one.text


def test_search(folder: Path) -> None:
    found = [(one.shard[10], one.row_group, one.row, one.at, one.text) for one in search(folder, "fish")]
    assert found == [
        ("0", 0, 0, 4, "one fish"),
        ("0", 0, 1, 4, "two fish"),
        ("0", 1, 0, 4, "red fish"),
        ("1", 1, 1, 2, "h fish fish"),  # once, and not where one document ends in fis and the next begins with h
    ]
    assert list(search(folder, "nothing")) == []
    assert [one.row for one in search(folder, "blue")] == [0]
