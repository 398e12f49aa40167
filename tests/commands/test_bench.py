"""`nanochat bench`: figures that hang together, as text and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from doubles import random_model, tiny_tokenizer

from nanochat.checkpoints.store import save_checkpoint
from nanochat.cli import main
from nanochat.config.bench import BenchInferConfig, BenchMatmulConfig, BenchTrainConfig
from nanochat.errors import ContextError, UsageError
from nanochat.model.sizes import count_parameters, flops_per_token
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.stages.bench_infer import bench_infer

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


TINY = ("--depth", "2", "--head-dim", "32", "--vocab-size", "300", "--device", "cpu", "--threads", "1")


@pytest.mark.parametrize(("dtype", "itemsize"), [("float32", 4), ("bfloat16", 2), ("int8", 1)])
def test_infer_as_json(ask: Callable[..., str], dtype: str, itemsize: int) -> None:
    words = ("--prompt-tokens", "20", "--new-tokens", "6", "--batch-sizes", "1,3", "--dtype", dtype, "--json")
    report = json.loads(ask("infer", *TINY, *words))
    shape = BenchInferConfig(depth=2, head_dim=32, vocab_size=300).model()
    counts = count_parameters(shape)
    assert (report["dtype"], report["parameters"], report["threads"]) == (dtype, counts.total, 1)
    assert report["weight_bytes"] == (counts.matrices + counts.lm_head) * itemsize
    assert report["bandwidth"] > 1e8
    assert [speed["batch"] for speed in report["speeds"]] == [1, 3]
    for speed in report["speeds"]:
        assert speed["decode_tokens_per_s"] == pytest.approx(speed["batch"] / speed["step_s"])
        cached = speed["batch"] * (20 + 3) * 2 * shape.n_layer * shape.n_embd * 4  # float32 on a CPU
        moved = report["weight_bytes"] + cached
        assert speed["mbu"] == pytest.approx(moved / speed["step_s"] / report["bandwidth"])
        assert 0 < speed["overhead_s"] < speed["step_s"]
        assert speed["time_to_first_token_s"] > 0 and speed["prefill_tokens_per_s"] > 0


def test_infer_as_text(ask: Callable[..., str]) -> None:
    first, names, row = ask(
        "infer", *TINY, "--new-tokens", "3", "--prompt-tokens", "9", "--batch-sizes", "2"
    ).splitlines()
    assert "float32 on cpu, 1 threads" in first and "GB/s" in first
    assert names.split()[0] == "batch" and row.split()[0] == "2" and "%" in row


def test_infer_of_a_saved_model(ask: Callable[..., str], tmp_path: Path) -> None:
    model = random_model("D")
    save_checkpoint(
        tmp_path / "base" / "models" / "tiny" / "base",
        1,
        model_state=model.state_dict(),
        model_config=model.config,
        tokenizer=tiny_tokenizer(),
        state={},
    )
    words = ("--device", "cpu", "--threads", "1", "--new-tokens", "3", "--prompt-tokens", "9", "--batch-sizes", "1")
    report = json.loads(ask("infer", "tiny", *words, "--json"))
    assert report["parameters"] == count_parameters(model.config).total
    with pytest.raises(ContextError, match=r"500.*256"):
        bench_infer(
            BenchInferConfig(prompt_tokens=400, new_tokens=100),
            RunContext(paths=Paths(base=tmp_path / "base", cache=tmp_path)),
            "tiny",
        )


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
    for bad in ("", "0", "1;2", "2000"):
        with pytest.raises(UsageError, match="batch_sizes"):
            BenchInferConfig(batch_sizes=bad)
    for name in ("prompt_tokens", "new_tokens"):
        with pytest.raises(UsageError, match=name):
            BenchInferConfig(**{name: 1})
    for bad in ("", "0", "64;128", "70000", "-4"):
        with pytest.raises(UsageError, match="sizes"):
            BenchMatmulConfig(sizes=bad)
    with pytest.raises(UsageError, match="seconds"):
        BenchMatmulConfig(seconds=-1)
    with pytest.raises(UsageError, match="head_dim"):
        BenchTrainConfig(head_dim=33)
