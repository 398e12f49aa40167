"""`nanochat bench`: figures that hang together, as text and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanochat.cli import main
from nanochat.config.bench import BenchMatmulConfig, BenchTrainConfig
from nanochat.errors import UsageError
from nanochat.model.sizes import count_parameters, flops_per_token

SMALL = ("--depth", "1", "--head-dim", "32", "--sequence-len", "32", "--vocab-size", "300", "--device-batch-size", "2")
MACHINE = ("--device", "cpu", "--dtype", "float32", "--compile", "off", "--threads", "1", "--steps", "3")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("NANOCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*words: str) -> str:
        capsys.readouterr()
        assert main(["bench", *words]) == 0
        return capsys.readouterr().out

    return run


def test_train_as_json(ask: Callable[..., str]) -> None:
    report = json.loads(ask("train", *SMALL, *MACHINE, "--json"))
    setting, speed = report["setting"], report["speed"]
    assert (setting["device"], setting["dtype"], setting["compile"], setting["threads"]) == ("cpu", "float32", False, 1)
    assert (setting["depth"], setting["sequence_len"], setting["steps"]) == (1, 32, 3)
    shape = BenchTrainConfig(depth=1, head_dim=32, sequence_len=32, vocab_size=300).model()
    assert speed["parameters"] == count_parameters(shape).total
    assert speed["tokens_per_step"] == 64
    assert speed["tokens_per_s"] == pytest.approx(64 / speed["step_s"])
    assert speed["mfu"] == pytest.approx(flops_per_token(shape) * speed["tokens_per_s"] / speed["peak"]["flops"])
    assert speed["peak"]["origin"] == "measured"
    assert 0 < speed["optimizer_s"] < speed["step_s"]
    assert speed["first_step_s"] > 0
    assert speed["peak_memory_bytes"] > 10**8


def test_train_as_text(ask: Callable[..., str]) -> None:
    lines = dict(line.split(maxsplit=1) for line in ask("train", *SMALL, *MACHINE).splitlines())
    assert lines["setting"] == "cpu, float32, not compiled, 1 thread"
    assert "measured for" in lines["mfu"]
    assert float(lines["tokens/s"].replace(",", "")) > 0


def test_matmul(ask: Callable[..., str]) -> None:
    report = json.loads(
        ask("matmul", "--sizes", "16,64", "--seconds", "0", "--device", "cpu", "--threads", "1", "--json")
    )
    rows: dict[Any, Any] = {(row["size"], row["dtype"]): row for row in report["speeds"]}
    assert rows.keys() == {(size, dtype) for size in (16, 64) for dtype in ("float32", "bfloat16")}
    for dtype in ("float32", "bfloat16"):
        best = max(rows[size, dtype]["flops"] for size in (16, 64))
        assert max(rows[size, dtype]["share"] for size in (16, 64)) == 1
        for size in (16, 64):
            assert rows[size, dtype]["share"] == pytest.approx(rows[size, dtype]["flops"] / best)
    text = ask("matmul", "--sizes", "16", "--seconds", "0", "--device", "cpu")
    assert text.splitlines()[1].split() == ["size", "dtype", "GFLOP/s", "share"]


def test_wrong_sizes() -> None:
    for bad in ("", "0", "64;128", "70000", "-4"):
        with pytest.raises(UsageError, match="sizes"):
            BenchMatmulConfig(sizes=bad)
    with pytest.raises(UsageError, match="seconds"):
        BenchMatmulConfig(seconds=-1)
    with pytest.raises(UsageError, match="head_dim"):
        BenchTrainConfig(head_dim=33)
