"""The whole pipeline as a person runs it, cut to a step a stage: killed once, started again, then talked to."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanochat.checkpoints.store import latest_valid

SHORT = ("--rl", "--scale", "0.02", "--compile", "off", "--dtype", "float32", "--threads", "1")


def nanochat(base: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "nanochat", "--base-dir", str(base), *words]


def run(base: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(nanochat(base, *words), capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.slow
def test_a_run_killed_at_a_random_moment_ends_with_a_model_that_answers(tmp_path: Path) -> None:
    moment = random.uniform(1, 15)
    print(f"kill -9 after {moment:.2f} s")
    first = subprocess.Popen(
        nanochat(tmp_path, "speedrun", "pocket", *SHORT), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(moment)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()

    second = run(tmp_path, "speedrun", "pocket", *SHORT)
    assert second.returncode == 0, second.stderr
    assert "What is the capital of Japan?" in second.stdout
    assert "Traceback" not in second.stderr
    for stage in ("base", "mid", "sft", "rl"):
        assert latest_valid(tmp_path / "models" / "pocket" / stage) is not None

    report = (tmp_path / "models" / "pocket" / "report.md").read_text()
    assert re.search(
        r"^\| task \| chance \| base, step \d+ \| mid, step \d+ \| sft, step \d+ \| rl, step \d+ \|$", report, re.M
    )
    assert report == run(tmp_path, "report").stdout

    listed = json.loads(run(tmp_path, "models", "list", "--json").stdout)
    assert {row["stage"] for row in listed} == {"base", "mid", "sft", "rl"}

    answer = run(tmp_path, "chat", "-p", "What is the capital of Japan?", "--max-tokens", "8")
    assert answer.returncode == 0, answer.stderr

    again = run(tmp_path, "speedrun", "pocket", *SHORT)
    assert again.returncode == 0
    assert again.stderr.count("done before") >= 4


def test_the_plan_is_printed_without_running(tmp_path: Path) -> None:
    plan = run(tmp_path, "speedrun", "pocket", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    for word in ("model", "training", "time", "memory", "disk"):
        assert f"\n  {word}" in plan.stdout
    assert not any(tmp_path.iterdir())
