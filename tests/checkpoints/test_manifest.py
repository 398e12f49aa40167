from __future__ import annotations

import json
from pathlib import Path

import pytest

from nanochat.checkpoints import manifest
from nanochat.checkpoints.manifest import check_all, read_manifest, verify, write_manifest
from nanochat.errors import DamagedError, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.txt").write_bytes(b"aa")
    (tmp_path / "in" / "b.txt").write_bytes(b"bbb")
    write_manifest(tmp_path, 7)
    return tmp_path


def test_round_trip(folder: Path) -> None:
    found = verify(folder)
    assert found.step == 7
    assert found.size_bytes == 5
    assert list(found.files) == ["a.txt", "in/b.txt"]


def test_state_of_every_file(folder: Path) -> None:
    (folder / "a.txt").unlink()
    (folder / "in" / "b.txt").write_bytes(b"bxb")
    assert check_all(folder) == {
        "a.txt": "is missing",
        "in/b.txt": "is damaged (its SHA-256 differs from the manifest)",
    }


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"sha256": 1}', "\xff"])
def test_not_a_manifest(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedError, match=r"manifest\.json"):
        read_manifest(folder)


def rewritten(folder: Path, **changes: object) -> None:
    body = json.loads((folder / "manifest.json").read_text())
    del body["sha256"]
    body.update(changes)
    (folder / "manifest.json").write_text(json.dumps({**body, "sha256": manifest._checksum(body)}))


def test_a_newer_format_is_not_called_damaged(folder: Path) -> None:
    rewritten(folder, format=2)
    with pytest.raises(UsageError, match="format 2"):
        read_manifest(folder)


@pytest.mark.parametrize("name", ["/etc/hostname", "../a.txt", "in/../../a.txt"])
def test_files_outside_of_the_folder_are_refused(folder: Path, name: str) -> None:
    rewritten(folder, files={name: {"size": 1, "sha256": "0"}})
    with pytest.raises(DamagedError, match="outside"):
        read_manifest(folder)
