"""Files that are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from nanochat.errors import StorageError
from nanochat.runtime.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    fsync_dir,
    sha256_file,
    translate_os_errors,
)


def test_written_whole_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    atomic_write_json(path, {"x": "ä"})
    assert path.read_text(encoding="utf-8") == '{\n  "x": "ä"\n}\n'
    atomic_write_text(path, "new")
    atomic_write_bytes(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    path = tmp_path / "file"
    atomic_write_text(path, "old")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(*((os, "fsync", full) if where == "fsync" else (Path, "replace", full)))
    with pytest.raises(StorageError, match="No space left on device") as caught:
        atomic_write_text(path, "new")
    monkeypatch.undo()
    assert "--base-dir" in caught.value.hint
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EACCES, "access"),
        (errno.EPERM, "access"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "check the disk"),
        (errno.EEXIST, "a file stands where a folder should be"),
        (errno.ENOTDIR, "a file stands where a folder should be"),
        (errno.ELOOP, "check /some/folder"),
    ],
)
def test_errors_in_words(number: int, words: str) -> None:
    with pytest.raises(StorageError) as caught, translate_os_errors(Path("/some/folder")):
        raise OSError(number, os.strerror(number), "/some/folder/file")
    assert caught.value.message == f"/some/folder/file: {os.strerror(number)}"
    assert words in caught.value.hint
    assert caught.value.exit_code == 1


def test_other_errors_pass() -> None:
    with pytest.raises(ValueError, match="no file"), translate_os_errors(Path("x")):
        raise ValueError("no file")


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        atomic_write_text(tmp_path / "file" / "x", "text")


def test_checksum(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"ab" * 1_000_000)
    assert sha256_file(path) == hashlib.sha256(b"ab" * 1_000_000).hexdigest()
    fsync_dir(tmp_path)
