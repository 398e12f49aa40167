"""`nanochat tokenizer export`: folders that stay whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from nanochat.cli import main
from nanochat.commands.tokenizer_export import export
from nanochat.errors import UsageError
from nanochat.tokenizer.train import train_tokenizer


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("base")
    train_tokenizer(["the cat and the dog"], 270).save(base / "tokenizers" / "tiny")
    return base


def run(command: Any, base_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [*words, "--base-dir", str(base_dir)])


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        ("hf", ["chat_template.jinja", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]),
        ("tiktoken", ["README.md", "encoding.json", "ranks.tiktoken"]),
    ],
)
def test_export(base_dir: Path, tmp_path: Path, layout: str, files: list[str]) -> None:
    folder = tmp_path / "deep" / "out"
    result = run(export, base_dir, "tiny", "--format", layout, "--output", str(folder))
    assert (result.stdout, result.stderr) == (f"{folder}\n", "")
    assert sorted(path.name for path in folder.iterdir()) == files
    again = run(export, base_dir, "--format", layout, "-o", str(folder), "--json")
    said = json.loads(again.stdout)
    assert (said["folder"], said["format"], said["tokenizer"]) == (str(folder), layout, "tiny")
    assert sorted(said["files"]) == files


def test_nothing_is_replaced_without_consent(base_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    words = ("--format", "tiktoken", "--output", str(tmp_path))
    error = run(export, base_dir, *words).exception
    assert isinstance(error, UsageError)
    assert "Replace README.md" in error.message
    assert error.hint == "add --yes"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"
    assert run(export, base_dir, *words, "--yes").exception is None
    assert "tiktoken" in (tmp_path / "README.md").read_text()


def test_tokenizers_that_models_start_from_are_safe(base_dir: Path) -> None:
    folder = base_dir / "tokenizers" / "tiny"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for layout in ("hf", "tiktoken"):
        error = run(export, base_dir, "--format", layout, "--output", str(folder), "--yes").exception
        assert isinstance(error, UsageError)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_wrong_requests(base_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ("--base-dir", str(base_dir))
    export_words = ("tokenizer", "export")
    assert main([*export_words, "--format", "onnx", "--output", str(tmp_path), *where]) == 2
    assert main([*export_words, "--output", str(tmp_path), *where]) == 2
    assert main([*export_words, "--format", "hf", *where]) == 2
    assert main([*export_words, "tinny", "--format", "hf", "--output", str(tmp_path), *where]) == 3
    file = tmp_path / "file"
    file.write_text("precious")
    assert main([*export_words, "--format", "hf", "--output", str(file), *where]) == 2
    assert main([*export_words, "--format", "hf", "--output", str(file / "below"), *where]) == 1
    assert file.read_text() == "precious"
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "hint"] * 6


def test_a_name_can_be_completed(base_dir: Path) -> None:
    from nanochat.commands.tokens import complete_tokenizer

    ctx: Any = type("Context", (), {"params": {"base_dir": str(base_dir)}})
    param: Any = None
    assert [item.value for item in complete_tokenizer(ctx, param, "ti")] == ["tiny"]
    assert complete_tokenizer(ctx, param, "x") == []
    assert [item.type for item in complete_tokenizer(ctx, param, "./")] == ["dir"]
    ctx.params["base_dir"] = str(base_dir / "none")
    assert complete_tokenizer(ctx, param, "") == []
