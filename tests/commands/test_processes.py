"""`train base --nproc 2` as a person starts it: one process killed, the same command goes on, the model is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.runtime.events import read_events

STEPS = 60
WORDS = (
    "train base --depth 1 --head-dim 32 --aspect-ratio 32 --sequence-len 64 --device-batch-size 4"
    f" --total-batch-size 512 --num-steps {STEPS} --save-every 5 --eval-every 20 --eval-tokens 512"
    " --device cpu --dtype float32 --compile off --threads 1"
).split()
LIMIT_S = 120


def start(base: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nanochat", "--base-dir", str(base), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def run(base: Path, *words: str) -> tuple[int, str, str]:
    process = start(base, *words)
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def log_of(base: Path, tag: str) -> list[dict[str, Any]]:
    return read_events(base / "models" / tag / "base" / "events.jsonl")


def rank_of(process: psutil.Process) -> str:
    try:
        return process.environ().get("RANK", "")
    except psutil.Error:
        return ""


@pytest.mark.slow
def test_a_run_whose_process_is_killed_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    assert run(tmp_path, "data", "pocket", "--size", "200K")[0] == 0
    assert run(tmp_path, "tokenizer", "train", "--vocab-size", "512")[0] == 0
    code, out, err = run(tmp_path, *WORDS, "--tag", "one", "--nproc", "1")
    assert code == 0, err
    assert "torch.distributed.run" not in err

    launcher = start(tmp_path, *WORDS, "--tag", "two", "--nproc", "2")
    until = time.monotonic() + LIMIT_S
    while not any(event["event"] == "CheckpointSaved" for event in log_of(tmp_path, "two")):
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    everyone = psutil.Process(launcher.pid).children(recursive=True)
    (victim,) = [process for process in everyone if rank_of(process) == "1" and "-m" in process.cmdline()]
    victim.send_signal(signal.SIGKILL)
    out, err = launcher.communicate(timeout=LIMIT_S)
    assert launcher.returncode == 1
    assert out == ""
    assert "-m torch.distributed.run --nproc-per-node 2" in err
    assert "error: rank 1 was killed by SIGKILL" in err
    assert "Traceback" not in err
    assert not psutil.wait_procs(everyone, timeout=10)[1]

    code, out, err = run(tmp_path, *WORDS, "--tag", "two", "--nproc", "2")
    assert code == 0, err
    assert out.splitlines() == [str(tmp_path / "models" / "two" / "base")]
    resumed = [event["resumed_from"] for event in log_of(tmp_path, "two") if event["event"] == "StageStarted"]
    assert resumed[0] is None
    assert resumed[1] >= 5

    checkpoints = []
    for tag in ("one", "two"):
        newest = latest_valid(tmp_path / "models" / tag / "base")
        assert newest is not None
        checkpoints.append(load_checkpoint(newest, with_optimizer=True))
    one, two = checkpoints
    assert one.state["loader"] == two.state["loader"]
    for left, right in ((one.model_state, two.model_state), (one.optimizer_state or {}, two.optimizer_state or {})):
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []
