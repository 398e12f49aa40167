"""`nanochat train`: every dial is a flag, `--config` sets them, `--from` goes on with a model."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nanochat.cli import main
from nanochat.commands.train import base
from nanochat.config.train import BaseTrainConfig
from nanochat.stages import pretrain as stage
from nanochat.stages.folder import StageResult

DIALS = {
    "depth": 3,
    "aspect_ratio": 32,
    "head_dim": 48,
    "sequence_len": 256,
    "window_pattern": "SL",
    "recipe": "modern",
    "num_steps": 7,
    "target_flops": 1e12,
    "ratio": 9.0,
    "device_batch_size": 2,
    "total_batch_size": 1024,
    "matrix_lr": 0.03,
    "embedding_lr": 0.4,
    "unembedding_lr": 0.009,
    "scalar_lr": 0.6,
    "weight_decay": 0.1,
    "warmup": 5,
    "warmdown": 0.5,
    "final_lr": 0.1,
    "eval_every": 11,
    "eval_tokens": 2048,
    "sample_every": 12,
    "save_every": 13,
    "dtype": "float32",
    "compile": "off",
    "seed": 3,
    "tag": "mine",
    "run": "first",
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("NANOCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[BaseTrainConfig]:
    """Configs that reached the stage, which does nothing else."""
    configs: list[BaseTrainConfig] = []

    def pretrain(config: BaseTrainConfig, context: Any, on_event: Any) -> StageResult:
        configs.append(config)
        return StageResult(folder=tmp_path, summary={})

    monkeypatch.setattr(stage, "pretrain", pretrain)
    return configs


def run(*words: str) -> int:
    return main(
        ["train", "base", "--device", "cpu", "--dtype", "float32", "--compile", "off", "--threads", "1", *words]
    )


def test_every_dial_is_a_flag(seen: list[BaseTrainConfig]) -> None:
    flags = [word for name, value in DIALS.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert run(*flags) == 0
    assert {name: getattr(seen[0], name) for name in DIALS} == DIALS
    documented = {name: param.help for param in base.params if (name := param.name) in DIALS}  # type: ignore[attr-defined]
    assert set(documented) == set(DIALS)
    assert all(documented.values())


def test_every_dial_in_a_file(seen: list[BaseTrainConfig], tmp_path: Path) -> None:
    changed = {name: value for name, value in DIALS.items() if name not in ("dtype", "compile")}
    lines = [f"{name} = {json.dumps(value)}" for name, value in changed.items()]
    (tmp_path / "mine.toml").write_text("\n".join(lines))
    assert run("--config", "mine.toml", "--depth", "5") == 0
    assert {name: getattr(seen[0], name) for name in changed} == {**changed, "depth": 5}


def test_unknown_keys_of_the_file_are_named(
    seen: list[BaseTrainConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text("dpeth = 4")
    assert run("--config", "mine.toml") == 2
    assert "mine.toml: unknown key train.base.dpeth; did you mean depth?" in capsys.readouterr().err
    assert run("--config", "none.toml") == 2
    assert "there is no file none.toml" in capsys.readouterr().err
    assert not seen


class TestFrom:
    @pytest.fixture
    def base_dir(self, tmp_path: Path) -> Path:
        """A model `old`, of which only the shape is read here."""
        from nanochat.config.model import era_config

        config = era_config("B", sequence_len=128, n_layer=3, n_head=2, n_kv_head=2, n_embd=96, window_pattern="SSL")
        step_dir = tmp_path / "base" / "models" / "old" / "base" / "step_000007"
        step_dir.mkdir(parents=True)
        (step_dir / "model.json").write_text(json.dumps(config.to_dict()))
        return tmp_path / "base"

    def test_the_shape_is_that_of_the_model(self, seen: list[BaseTrainConfig], base_dir: Path) -> None:
        assert run("--from", "old", "--base-dir", str(base_dir)) == 0
        assert run("--from", "old", "--base-dir", str(base_dir), "--sequence-len", "1K") == 0
        same, longer = seen
        assert (same.source, same.depth, same.head_dim, same.window_pattern) == ("old", 3, 48, "SSL")
        assert (same.sequence_len, longer.sequence_len) == (128, 1000)

    @pytest.mark.parametrize("flag", ["--depth", "--head-dim", "--aspect-ratio", "--tokenizer"])
    def test_another_shape_is_refused(
        self, flag: str, seen: list[BaseTrainConfig], base_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("--from", "old", "--base-dir", str(base_dir), flag, "96") == 2
        assert f"{flag} cannot change them" in capsys.readouterr().err
        assert not seen

    def test_a_model_that_is_not_there(
        self, seen: list[BaseTrainConfig], base_dir: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run("--from", "odl", "--base-dir", str(base_dir)) == 3
        assert "did you mean old" in capsys.readouterr().err
        assert not seen
