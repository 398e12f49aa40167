"""`nanochat models`: text and JSON on stdout, damage reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from nanochat.checkpoints.layout import mark_finished
from nanochat.checkpoints.store import save_checkpoint
from nanochat.commands.models import list_, show
from nanochat.config.model import ModelConfig
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.tokenizer.train import train_tokenizer


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    """d4 with a finished base stage of two checkpoints and an unfinished mid without any."""
    stage_dir = tmp_path / "models" / "d4" / "base"
    for step in (10, 20):
        save_checkpoint(
            stage_dir,
            step,
            model_state={"transformer.wte.weight": torch.ones(300, 8), "lm_head.weight": torch.ones(300, 8)},
            model_config=ModelConfig(sequence_len=16, vocab_size=265, n_layer=1, n_head=1, n_kv_head=1, n_embd=8),
            tokenizer=train_tokenizer(["a"], 265),
            state={},
        )
    (stage_dir / "eval").mkdir()
    facts = {"accuracy": 0.5, "n": 10, "low": 0.2, "high": 0.8, "chance": 0.0}
    (stage_dir / "eval" / "pocket.json").write_text(json.dumps({"step": 20, "tasks": {"facts": facts}}))
    mark_finished(stage_dir, {"step": 20, "val_bpb": 1.25})
    (tmp_path / "models" / "d4" / "mid").mkdir()
    return tmp_path


def run(command: object, base_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [*words, "--base-dir", str(base_dir)])  # type: ignore[arg-type]


def test_list(base_dir: Path) -> None:
    header, base, mid = run(list_, base_dir).stdout.splitlines()
    assert header.split() == ["TAG", "STAGE", "STEP", "PARAMS", "VAL", "BPB", "SCORE", "SIZE", "WHEN"]
    assert base.split()[:6] == ["d4", "base", "20", "4.8K", "1.2500", "0.5000"]
    assert mid.split()[:5] == ["d4", "mid*", "-", "-", "-"]


def test_scores_of_another_step_say_which(base_dir: Path) -> None:
    folder = base_dir / "models" / "d4" / "base" / "eval"
    kept = json.loads((folder / "pocket.json").read_text())
    (folder / "pocket.json").write_text(json.dumps({**kept, "step": 10}))
    (folder / "pocket-5shot.json").write_text(json.dumps({**kept, "shots": 5}))
    (folder / "core.json").write_text(json.dumps({"step": 20, "core": {"value": 0.25, "low": 0.125, "high": 0.375}}))
    assert run(list_, base_dir).stdout.splitlines()[1].split()[5:7] == ["0.5000", "@10"]
    assert json.loads(run(list_, base_dir, "--json").stdout)[0]["score_step"] == 10
    lines = {line.strip() for line in run(show, base_dir).stdout.splitlines()}
    assert {" ".join(line.split()) for line in lines} >= {
        "facts @10 0.500 [0.200, 0.800] n=10",
        "facts (5shot) 0.500 [0.200, 0.800] n=10",
        "CORE 0.250 [0.125, 0.375] n=-",
        "score @10 0.500",
    }


def test_list_json(base_dir: Path) -> None:
    base, mid = json.loads(run(list_, base_dir, "--json").stdout)
    assert (base["tag"], base["stage"], base["step"], base["parameters"]) == ("d4", "base", 20, 4800)
    assert (base["val_bpb"], base["score"], base["finished"]) == (1.25, 0.5, True)
    assert mid["step"] is None


def test_nothing_trained(tmp_path: Path) -> None:
    assert json.loads(run(list_, tmp_path, "--json").stdout) == []
    error = run(list_, tmp_path).exception
    assert isinstance(error, MissingError)
    assert error.hint == "nanochat speedrun pocket"
    assert isinstance(run(show, tmp_path).exception, MissingError)


def test_show(base_dir: Path) -> None:
    text = run(show, base_dir, "d4:base@10").stdout
    assert text.startswith("d4:base@10  (finished; steps 20, 10)")
    for words in (
        "n_embd",
        "lm_head",
        "2,400",
        "facts @20",
        "0.500  [0.200, 0.800]  n=10",
        "model.safetensors",
        "ok",
    ):
        assert words in text


def test_show_json(base_dir: Path) -> None:
    shown = json.loads(run(show, base_dir, "--json").stdout)
    assert (shown["step"], shown["valid"], shown["model"]["n_embd"]) == (20, True, 8)
    assert shown["parameters"] == {"total": 4800, "wte": 2400, "lm_head": 2400}
    assert shown["files"]["tokenizer/ranks.tiktoken"]["state"] == "ok"


def test_show_names_the_best(base_dir: Path) -> None:
    assert json.loads(run(show, base_dir, "--json").stdout)["best"] is None
    stage_dir = base_dir / "models" / "d4" / "base"
    save_checkpoint(
        stage_dir,
        30,
        model_state={"lm_head.weight": torch.ones(300, 8)},
        model_config=ModelConfig(sequence_len=16, vocab_size=265, n_layer=1, n_head=1, n_kv_head=1, n_embd=8),
        tokenizer=train_tokenizer(["a"], 265),
        state={"train": {"best_step": 10}},
        best=10,
    )
    assert run(show, base_dir).stdout.startswith("d4:base@30  (finished; steps 30, 20, 10; best 10)")
    assert run(show, base_dir, "d4:base@best").stdout.startswith("d4:base@10")


def test_show_says_what_is_damaged(base_dir: Path) -> None:
    (base_dir / "models" / "d4" / "base" / "step_000020" / "state.json").write_text("")
    result = run(show, base_dir, "--json")
    assert json.loads(result.stdout)["valid"] is False
    assert isinstance(result.exception, DamagedError)
    assert "state.json" in result.exception.message


def test_bad_selector(base_dir: Path) -> None:
    assert isinstance(run(show, base_dir, "d4:").exception, UsageError)
    error = run(show, base_dir, "d5").exception
    assert isinstance(error, MissingError)
    assert "did you mean d4" in error.message
