"""`nanochat watch`: which run, one picture for scripts, figures for programs, and a real terminal."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from runlogs import START, STEP_S, append, started, write_run, write_scores

from nanochat.commands.watch import watch
from nanochat.errors import MissingError, StorageError, UsageError

GOLDEN = Path(__file__).parent.parent / "golden" / "watch" / "once.txt"
NOW = START + 200 * STEP_S + 3


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    for tag, steps, shift, age in (("d5", 120, 0.25, 100.0), ("d4", 200, 0.0, 0.0)):
        folder = write_run(tmp_path / "models" / tag / "base", steps=steps, shift=shift)
        for path in folder.iterdir():
            os.utime(path, (NOW - age, NOW - age))
    write_scores(tmp_path / "models" / "d4" / "base")
    return tmp_path


def run(base_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(watch, [*words, "--base-dir", str(base_dir)])


def test_one_picture(base_dir: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "40")
    text = run(base_dir, "--with", "d5", "--once").stdout
    if request.config.getoption("--update-golden", default=False):
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")
    assert "\x1b" not in text


def test_figures(base_dir: Path) -> None:
    found = json.loads(run(base_dir, "d4", "--with", "d5", "--by", "tokens", "--json").stdout)
    assert (found["tag"], found["stage"], found["step"], found["total_steps"]) == ("d4", "base", 200, 240)
    assert (found["val_bpb"], found["score"]) == (pytest.approx(1.1353, abs=1e-4), pytest.approx(0.5))
    assert found["samples"] == [{"step": 200, "prompt": "The sky is", "answer": " blue.\nSo is the sea."}]
    assert found["comparison"]["x"] == 120_000
    loss = found["curves"]["loss"]
    assert len(loss) <= 120
    assert loss[-1] == [200_000, found["smoothed_loss"]]
    assert [box["name"] for box in found["pipeline"]] == ["data", "tokenizer", "base", "mid", "sft", "eval"]


def test_without_a_terminal(base_dir: Path) -> None:
    error = run(base_dir).exception
    assert isinstance(error, UsageError)
    assert "--once" in error.hint
    assert "report" in error.hint


def test_the_newest_run_needs_no_checkpoint(base_dir: Path) -> None:
    assert run(base_dir, "--once").stdout.startswith("d4:base")
    append(base_dir / "models" / "d6" / "base" / "events.jsonl", started(9))
    assert run(base_dir, "--once").stdout.startswith("d6:base")
    plan = base_dir / "models" / "d7" / "speedrun.json"
    plan.parent.mkdir()
    plan.write_text("{}")
    assert run(base_dir, "--once").stdout.startswith("d7:base  · waiting for its first event")


def test_wrong_names(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    error = run(base_dir, "d44", "--once").exception
    assert isinstance(error, MissingError)
    assert "did you mean d4" in error.message
    error = run(base_dir, "d4", "--with", "d55", "--once").exception
    assert isinstance(error, MissingError)
    error = run(base_dir, "d4:base@100", "--once").exception
    assert isinstance(error, UsageError)
    assert error.hint == "nanochat watch d4:base"
    error = run(tmp_path_factory.mktemp("empty"), "--once").exception
    assert isinstance(error, MissingError)
    assert error.hint == "nanochat speedrun pocket"


def test_a_log_that_cannot_be_read(base_dir: Path) -> None:
    log = base_dir / "models" / "d4" / "base" / "events.jsonl"
    log.unlink()
    log.mkdir()
    error = run(base_dir, "d4", "--once").exception
    assert isinstance(error, StorageError)
    assert "events.jsonl" in error.message


def test_a_stream_that_knows_only_ascii(base_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", "watch", "d4", "--once", "--base-dir", str(base_dir)],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "100"},
        capture_output=True,
        check=True,
    )
    text = done.stdout.decode("ascii")
    assert "step 200 of 240" in text
    assert "*" in text
    assert "lr x1.00" in text


@pytest.mark.skipif(os.name == "nt", reason="POSIX terminals")
def test_in_a_terminal(base_dir: Path) -> None:
    """As a person has it: it draws, answers keys, and gives the terminal back as it was."""
    import fcntl
    import pty
    import struct
    import termios

    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    before = termios.tcgetattr(inside)
    process = subprocess.Popen(
        [sys.executable, "-m", "nanochat", "watch", "d4", "--base-dir", str(base_dir)],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**os.environ, "TERM": "xterm-256color"},
    )
    said = b""

    def wait_for(words: str) -> None:
        nonlocal said
        deadline = time.monotonic() + 60
        while words.encode() not in said:
            assert time.monotonic() < deadline, said[-2000:]
            if select.select([outside], [], [], 0.1)[0]:
                said += re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", os.read(outside, 65536))

    try:
        wait_for("step 200 of 240")
        os.write(outside, b"2")
        wait_for("So is the sea.")
        os.write(outside, b"q")
        assert process.wait(30) == 0
        assert termios.tcgetattr(inside) == before
    finally:
        process.kill()
        process.wait()
        os.close(outside)
        os.close(inside)
