"""Every damage is found and named."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.config.importing import ImportConfig
from nanochat.data.dataset import DataSet
from nanochat.data.manifest import read_manifest
from nanochat.data.verifying import adopt_shards, verify
from nanochat.errors import MissingError
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.stages.importing import import_texts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("made")
    source = tmp_path / "a.txt"
    source.write_text("\n".join(f"Line {number} of many, {number * number}." for number in range(6_000)))
    paths = Paths(base=tmp_path / "base", cache=tmp_path / "cache")
    config = ImportConfig(documents="line", shard_size=100_000)
    return import_texts(config, [source], RunContext(paths=paths), lambda event: None).folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in made.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_sound_data_set(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []
    verified = verify(folder, lambda *at: told.append(at))
    assert (verified.damage, verified.has_manifest, verified.files, verified.unlisted) == ((), True, 3, ())
    assert [name for name, _, _ in told] == [f"shard_0000{number}.parquet" for number in range(3)]
    (folder / "manifest.json").unlink()
    assert (verify(folder).damage, verify(folder).has_manifest) == ((), False)


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize("place", ["in a page", "footer", "cut", "missing", "column", "empty"])
def test_damage_is_named(folder: Path, place: str, with_manifest: bool) -> None:
    path = folder / "shard_00001.parquet"
    data = bytearray(path.read_bytes())
    group = None
    if place == "in a page":
        column = pq.read_metadata(path).row_group(1).column(0)
        data[column.data_page_offset + column.total_compressed_size // 2] ^= 1
        group = 1
    elif place == "footer":
        data[-100:] = bytes(100)
    elif place == "cut":
        del data[len(data) // 2 :]
    elif place == "empty":
        data = bytearray()
    path.write_bytes(data)
    if place == "missing":
        path.unlink()
    elif place == "column":
        pq.write_table(pa.table({"body": ["x"]}), path)
    if not with_manifest:
        (folder / "manifest.json").unlink()
    damage = verify(folder).damage
    if place == "missing" and not with_manifest:
        assert not damage  # nobody knows that it was there
        return
    assert {item.file for item in damage} == {"shard_00001.parquet"}
    if group is not None:
        assert [item.row_group for item in damage if item.row_group is not None] == [group]
    assert all(item.what and "\n" not in item.what for item in damage)


def test_a_shard_exchanged_for_another(folder: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), folder / "shard_00000.parquet")
    assert "bytes, not" in verify(folder).damage[0].what
    data = (folder / "shard_00001.parquet").read_bytes()
    (folder / "shard_00001.parquet").write_bytes(data[:-30] + bytes([data[-30] ^ 1]) + data[-29:])
    assert any("SHA-256" in item.what for item in verify(folder).damage)


def test_shards_that_no_manifest_names(folder: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), folder / "shard_00009.parquet")
    assert verify(folder).unlisted == ("shard_00009.parquet",)


def test_text_that_is_not_utf8(folder: Path) -> None:
    bad = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": bad}), folder / "shard_00002.parquet")
    (folder / "manifest.json").unlink()
    (item,) = verify(folder).damage
    assert (item.file, item.row_group) == ("shard_00002.parquet", 0)


def test_a_manifest_is_written_for_shards_without_one(folder: Path) -> None:
    before = read_manifest(folder)
    dataset = DataSet.open(folder)
    assert before is not None
    (folder / "manifest.json").unlink()
    adopt_shards(folder)
    after = read_manifest(folder)
    assert after is not None
    assert after.files == before.files
    assert DataSet.open(folder) == dataset
    assert verify(folder).damage == ()


def test_too_little_to_adopt(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        adopt_shards(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    assert [item.file for item in verify(tmp_path).damage] == ["manifest.json"]
