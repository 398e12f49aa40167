"""`nanochat eval base` and `nanochat models diff` as they are typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from doubles import random_model, tiny_tokenizer
from hf_models import write_model
from small_bundle import write_bundle

from nanochat.checkpoints.store import save_checkpoint
from nanochat.commands.eval_base import base as eval_base
from nanochat.commands.models_diff import diff
from nanochat.errors import UsageError


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two random models, and a bundle beside them."""
    base = tmp_path_factory.mktemp("base")
    for tag, seed in (("one", 1), ("two", 2)):
        model = random_model("D", seed=seed)
        save_checkpoint(
            base / "models" / tag / "base",
            5,
            model_state=model.state_dict(),
            model_config=model.config,
            tokenizer=tiny_tokenizer(),
            state={},
        )
    write_bundle(base / "bundle")
    return base


def run(installed: Path, *words: str) -> Result:
    command, rest = (diff, words[1:]) if words[0] == "diff" else (eval_base, words)
    return CliRunner().invoke(command, [*rest, "--base-dir", str(installed)], catch_exceptions=True)


def measure(installed: Path, *words: str) -> Result:
    place = ("--bundle", str(installed / "bundle"), "--device", "cpu", "--threads", "1")
    return run(installed, *words, "--only", "core", "--max-per-task", "6", *place)


def test_the_table(installed: Path) -> None:
    lines = measure(installed, "one").stdout.splitlines()
    assert lines[0] == "one:base@5"
    header = next(line for line in lines if line.startswith("task"))
    assert header.split("  ")[-1].strip() == "GPT-2 124M"
    rows = {line.split()[0]: line for line in lines if line[:1].isalpha()}
    assert {"colours", "colours_zeroshot", "cups", "sums", "CORE"} <= set(rows)
    assert "50%" in rows["cups"]
    assert rows["CORE"].split()[-1] == "0.1000"
    assert lines[-1] == f"kept in {installed / 'models' / 'one' / 'base' / 'eval'}"


def test_for_programs_and_compared(installed: Path) -> None:
    found = {}
    for tag in ("one", "two"):
        found[tag] = json.loads(measure(installed, tag, "--json").stdout)
    core = found["one"]["core"]
    assert core["low"] < core["value"] < core["high"]
    assert core["tasks"]["cups"].keys() >= {"accuracy", "n", "low", "high", "chance", "centred", "items"}
    assert found["one"]["bpb"] == {}
    compared = json.loads(run(installed, "diff", "one", "two", "--json").stdout)
    assert compared["core"]["difference"] == pytest.approx(found["two"]["core"]["value"] - core["value"])
    for name, task in compared["core"]["tasks"].items():
        ours, theirs = (found[tag]["core"]["tasks"][name]["items"] for tag in ("one", "two"))
        assert task["gained"] == sum(a < b for a, b in zip(ours, theirs, strict=True))
        assert task["lost"] == sum(a > b for a, b in zip(ours, theirs, strict=True))
    lines = run(installed, "diff", "one", "two").stdout.splitlines()
    assert lines[0] == "one:base@5 -> two:base@5"
    assert lines[-1].startswith("CORE, centred")


def test_a_hugging_face_model_is_kept_apart(installed: Path, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    lines = measure(installed, "--hf", str(folder)).stdout.splitlines()
    assert lines[0] == str(folder)
    assert lines[-1].startswith(f"kept in {installed / 'evals' / 'tiny-'}")  # and a mark of where it lies
    measure(installed, "one")
    compared = run(installed, "diff", "one", f"hf:{folder}").stdout
    assert f"one:base@5 -> hf:{folder}" in compared


def test_what_cannot_be(installed: Path) -> None:
    result = run(installed, "one", "--hf", "gpt2")
    assert isinstance(result.exception, UsageError)
    for words in (("--only", "core,cor"), ("--max-per-task", "-1"), ("--eval-tokens", "0"), ("--only", "")):
        result = run(installed, "one", *words)
        assert result.exit_code == 2 or isinstance(result.exception, UsageError)


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from nanochat.cli import main
main(["eval", "base", "--help"]); main(["models", "diff", "--help"])
print(*set(sys.modules) & {"torch", "numpy", "yaml", "transformers", "lm_eval", "filelock"}, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
