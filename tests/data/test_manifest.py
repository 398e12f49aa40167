"""Adding files to a manifest, also from several processes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nanochat.data.manifest import DataManifest, ShardEntry, add_files, read_manifest
from nanochat.errors import UsageError

ENTRY = ShardEntry(size_bytes=1, sha256="ab", split="train")
WANTED = DataManifest(
    name="x", made_by="nanochat data download -n 2", validation="c", origin={"repo": "me/x"}, files={"a": ENTRY}
)

ADD = """
import sys
from pathlib import Path
from nanochat.data.manifest import DataManifest, ShardEntry, add_files
wanted = DataManifest(name="x", made_by="m", validation="c", origin={"repo": "me/x"})
for number in range(10):
    add_files(Path(sys.argv[1]), wanted, {f"{sys.argv[2]}{number}": ShardEntry(size_bytes=1, sha256="", split="train")})
"""


def test_files_are_added_in_name_order(tmp_path: Path) -> None:
    add_files(tmp_path, WANTED, {})
    now = read_manifest(tmp_path)
    assert now is not None
    assert now.files == {}  # those of the plan are not there yet
    add_files(tmp_path, WANTED, {"c": ENTRY})
    add_files(tmp_path, WANTED, {"a": ENTRY})
    merged = add_files(tmp_path, WANTED, {"b": ENTRY, "a": replace(ENTRY, size_bytes=2)})
    assert list(merged.files) == ["a", "b", "c"]
    assert merged.files["a"].size_bytes == 2
    assert read_manifest(tmp_path) == merged


def test_the_command_that_makes_more_is_kept(tmp_path: Path) -> None:
    add_files(tmp_path, replace(WANTED, files={"a": ENTRY, "b": ENTRY}), {"a": ENTRY, "b": ENTRY})
    less = add_files(tmp_path, replace(WANTED, made_by="less", files={"a": ENTRY}), {})
    assert less.made_by == WANTED.made_by
    more = add_files(tmp_path, replace(WANTED, made_by="more", files={"a": ENTRY, "b": ENTRY, "c": ENTRY}), {})
    assert more.made_by == "more"


def test_another_origin_is_refused(tmp_path: Path) -> None:
    add_files(tmp_path, WANTED, {"a": ENTRY})
    with pytest.raises(UsageError, match="made by: nanochat data download -n 2"):
        add_files(tmp_path, replace(WANTED, origin={"repo": "me/y"}), {"b": ENTRY})


def test_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path), name]) for name in "pqr"]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert len(manifest.files) == 30
