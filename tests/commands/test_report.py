"""`nanochat report`: which model, and where the text goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nanochat.commands.report import report
from nanochat.errors import MissingError, StorageError, UsageError


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "d4" / "base"
    folder.mkdir(parents=True)
    (folder / "finished.json").write_text('{"step": 5, "elapsed_s": 60}')
    return tmp_path


def run(base_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(report, [*words, "--base-dir", str(base_dir)])


def test_newest_and_named(base_dir: Path) -> None:
    text = run(base_dir).stdout
    assert text.startswith("# d4\n")
    assert text == run(base_dir, "d4").stdout


def test_json(base_dir: Path) -> None:
    found = json.loads(run(base_dir, "--json").stdout)
    assert (found["tag"], found["stages"][0]["step"]) == ("d4", 5)


def test_out(base_dir: Path) -> None:
    result = run(base_dir, "--out", str(base_dir / "report.md"))
    assert result.stdout == ""
    assert (base_dir / "report.md").read_text(encoding="utf-8").startswith("# d4\n")
    assert isinstance(run(base_dir, "--out", str(base_dir / "report.md" / "x")).exception, StorageError)
    assert isinstance(run(base_dir, "--json", "--out", "x").exception, UsageError)


def test_missing(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    error = run(base_dir, "d5").exception
    assert isinstance(error, MissingError)
    assert "did you mean d4" in error.message
    error = run(tmp_path_factory.mktemp("empty")).exception
    assert isinstance(error, MissingError)
    assert error.hint == "nanochat speedrun pocket"
