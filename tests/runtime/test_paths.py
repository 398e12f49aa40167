"""Where things live."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.errors import StorageError, UsageError
from nanochat.runtime.paths import Paths, check_name, resolve_paths


def test_one_root_for_everything(tmp_path: Path) -> None:
    for paths in (
        resolve_paths(str(tmp_path), {"NANOCHAT_BASE_DIR": "/elsewhere"}),
        resolve_paths(None, {"NANOCHAT_BASE_DIR": str(tmp_path)}),
    ):
        assert paths == Paths(base=tmp_path, cache=tmp_path / "cache")
    assert paths.model_dir("d12", "sft") == tmp_path / "models" / "d12" / "sft"
    assert paths.data("pocket") == tmp_path / "data" / "pocket"
    assert paths.tokenizer("mine") == tmp_path / "tokenizers" / "mine"
    assert paths.tasks == tmp_path / "cache" / "tasks"


def test_a_model_is_not_in_the_cache() -> None:
    paths = resolve_paths(None, {})
    assert paths.base != paths.cache
    assert "nanochat" in str(paths.base)


def test_home_and_relative_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_paths("~/models", {}).base == tmp_path / "models"
    monkeypatch.chdir(tmp_path)
    assert resolve_paths("here", {}).base == tmp_path / "here"


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a:b", "a@3", "a b", "-a", "ä", "a\n"])
def test_names_that_could_leave_the_folder(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name of a tag"):
        check_name(name, "tag")


@pytest.mark.parametrize("name", ["d12", "my-model", "v1.2_b", "_x", "7"])
def test_good_names(name: str) -> None:
    assert check_name(name, "tag") == name


def test_a_base_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="Not a directory"):
            resolve_paths(str(place), {})
    assert resolve_paths(str(tmp_path / "not" / "yet"), {}).base == tmp_path / "not" / "yet"
