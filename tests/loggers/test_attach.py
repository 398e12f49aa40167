"""A logger is a process that can do the run no harm."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from nanochat.errors import MissingError
from nanochat.loggers import attach
from nanochat.loggers.attach import attach_loggers, check_installed
from nanochat.runtime.events import Event, Notice, StageStarted, StepDone, record_of
from nanochat.runtime.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "models" / "t" / "base").mkdir(parents=True)
    return Paths(base=tmp_path, cache=tmp_path / "cache")


START = StageStarted(stage="base", tag="t", total_steps=9, tokens=900)


def step(number: int) -> StepDone:
    return StepDone(
        stage="base", step=number, total_steps=9, loss=1.0, lr_multiplier=1.0, tokens_per_s=1.0, tokens=1, elapsed_s=1.0
    )


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]


def loggers() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has gone, and only its parent has not asked yet
            if "nanochat.loggers" in process.cmdline():
                found.append(process)
    return found


def wait_until_gone() -> None:
    deadline = time.monotonic() + 10
    while loggers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not loggers()


def test_a_logger_whose_library_is_missing_is_refused_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attach, "find_spec", lambda name: None)
    check_installed(())
    with pytest.raises(MissingError, match="--logger wandb needs the package wandb") as error:
        check_installed(("wandb",))
    assert error.value.hint == 'pip install "nanochat[wandb]"'


def test_a_logger_that_fails_warns_once_and_the_run_goes_on(paths: Paths) -> None:
    (paths.base / "logs").mkdir()
    (paths.base / "logs" / "tensorboard").write_text("a file where its folder should be")
    told: list[Event] = []
    with attach_loggers(("tensorboard",), paths, told.append) as tell:
        tell(START)
        wait_until_gone()
        for number in range(1, 2000):
            tell(step(number))
    (warning,) = warnings(told)
    assert warning.startswith("tensorboard failed (NotADirectoryError")
    assert warning.endswith("the run goes on without it")
    assert "Traceback" in (paths.base / "logs" / "tensorboard.log").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_logger_that_is_killed_warns_once(paths: Paths) -> None:
    told: list[Event] = []
    with attach_loggers(("tensorboard",), paths, told.append) as tell:
        (process,) = loggers()
        process.kill()
        wait_until_gone()
        for number in range(1, 100):
            tell(step(number))
    (warning,) = warnings(told)
    assert warning.startswith("tensorboard ended; the run goes on without it (its log: ")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_logger_that_hangs_slows_nothing_and_is_ended(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "CLOSING_S", 1.0)
    told: list[Event] = []
    with attach_loggers(("tensorboard",), paths, told.append) as tell:
        (process,) = loggers()
        process.send_signal(signal.SIGSTOP)
        started = time.monotonic()
        for number in range(1, attach.STEPS_WAITING + 2000):  # 3 MB: more than a pipe holds
            tell(step(number))
        assert time.monotonic() - started < 5
        started = time.monotonic()
    assert time.monotonic() - started < 3
    wait_until_gone()
    (warning,) = warnings(told)
    assert "has stopped reading" in warning


@pytest.mark.skipif(sys.platform == "win32", reason="sessions of POSIX")
def test_a_logger_is_out_of_reach_of_ctrl_c(paths: Paths) -> None:
    with attach_loggers(("tensorboard",), paths, lambda event: None):
        (process,) = loggers()
        assert os.getsid(process.pid) != os.getsid(0)
    wait_until_gone()


def test_a_folder_that_cannot_be_had_is_a_warning(paths: Paths) -> None:
    (paths.base / "logs").write_text("a file")
    told: list[Event] = []
    with attach_loggers(("tensorboard",), paths, told.append) as tell:
        tell(START)
    (warning,) = warnings(told)
    assert warning.startswith("tensorboard could not be started")


def test_a_logger_whose_run_is_dead_still_records_what_it_got(paths: Paths) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "nanochat.loggers", "tensorboard", str(paths.models), str(paths.base / "logs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout and process.stderr
    process.stdout.close()
    for event in (START, step(1)):
        process.stdin.write(json.dumps(record_of(event)).encode() + b"\n")
    process.stdin.close()
    assert process.wait(20) == 0, process.stderr.read().decode()
    process.stderr.close()
    assert json.loads((paths.models / "t" / "base" / "loggers" / "tensorboard.json").read_text())["last"] == {"step": 1}
