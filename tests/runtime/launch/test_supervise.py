"""The launcher: what it tells, what it passes on, and that nothing is left when it has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import launched
import psutil
import pytest
import ranks

LAUNCHER = """
import json, os, sys
from dataclasses import asdict
from nanochat.runtime.launch import supervise as launcher
launcher.GRACE_S = 2.0
ending = launcher.supervise(json.loads(sys.argv[1]), 2, os.environ)
print(json.dumps(asdict(ending)))
"""


class Launcher:
    """A launcher in a process of its own, and the folder where its ranks tell that they have met."""

    def __init__(self, command: list[str], folder: Path, **environ: str) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, json.dumps(command)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(folder), **environ},
        )

    def rank(self, number: int) -> psutil.Process:
        """One of the ranks, once all have met."""
        until = time.monotonic() + 60
        while sum(bool(file.read_text()) for file in self.folder.glob("*.joined")) < 2:
            assert time.monotonic() < until
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)
        return psutil.Process(int((self.folder / f"{number}.joined").read_text()))

    def ending(self) -> tuple[dict[str, object], list[str], str]:
        """How it ended, what rank 0 has printed, and what it has told."""
        out, err = self.process.communicate(timeout=60)
        *printed, last = out.splitlines()
        assert not living(self.folder)
        return json.loads(last), printed, err


def living(folder: Path) -> list[psutil.Process]:
    """Processes whose command line names this folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def wait_until_none_lives(folder: Path, timeout: float = 30.0) -> None:
    until = time.monotonic() + timeout
    while left := living(folder):
        assert time.monotonic() < until, left
        time.sleep(0.05)


@pytest.fixture
def launch(tmp_path: Path) -> Callable[..., Launcher]:
    return lambda what, **environ: Launcher(launched.command(2, what, tmp_path), tmp_path, **environ)


def kept(folder: Path) -> list[Path]:
    return list(folder.glob("nanochat-launch-*"))


def test_only_rank_0_prints_and_nothing_is_kept(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    ending, printed, told = launch("done").ending()
    assert (ending["exit_code"], ending["message"]) == (0, "")
    assert (printed, told) == (["rank 0 prints"], "rank 0 tells\n")
    assert not kept(tmp_path)


def test_the_error_of_one_rank_is_that_of_the_run(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    ending, _, told = launch("error").ending()
    assert (ending["exit_code"], ending["message"], ending["hint"]) == (5, "the losses are not numbers", "lower them")
    assert told == "rank 0 tells\n"
    assert not kept(tmp_path)


def test_a_bug_keeps_its_traceback_and_what_was_written(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    ending, _, told = launch("bug").ending()
    assert (ending["exit_code"], ending["rank"]) == (1, 1)
    trace = str(ending["trace"])
    assert trace.startswith("Traceback")
    assert "ValueError: a bug" in trace
    (folder,) = kept(tmp_path)
    assert str(folder) in trace
    assert (folder / "rank1.log").read_text() == "rank 1 prints\nrank 1 tells\n"
    assert told == "rank 0 tells\n"


@pytest.mark.parametrize("what", ["killed", "torn"])
def test_a_killed_rank_is_named_whatever_the_others_say(launch: Callable[..., Launcher], what: str) -> None:
    ending, _, _ = launch(what).ending()
    assert ending["message"] == "rank 1 was killed by SIGKILL (out of memory?)"
    assert ending["exit_code"] == 1


def test_a_rank_that_never_began(launch: Callable[..., Launcher]) -> None:
    ending, _, _ = launch("stillborn").ending()
    assert ending["message"] == "rank 1 was killed by SIGSEGV"


def test_torchrun_that_starts_nothing(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    ending, _, told = launch("unreachable").ending()
    said = "torchrun could not start the processes: torch.distributed.DistNetworkError: no answer"
    assert ending["message"] == said
    assert str(kept(tmp_path)[0]) in str(ending["hint"])
    assert told == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_reach_the_ranks_and_the_slow_save_is_waited_for(
    launch: Callable[..., Launcher], tmp_path: Path, number: int
) -> None:
    launcher = launch("loop")
    launcher.rank(0)
    launcher.process.send_signal(number)
    ending, _, _ = launcher.ending()
    assert (ending["exit_code"], ending["message"]) == (75, "stopped, all is saved")
    assert (tmp_path / "saved").exists()


def test_a_second_interrupt_insists(launch: Callable[..., Launcher], tmp_path: Path) -> None:
    launcher = launch("deaf")
    launcher.rank(0)
    launcher.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert launcher.process.poll() is None
    launcher.process.send_signal(signal.SIGINT)
    started = time.monotonic()
    ending, _, _ = launcher.ending()
    assert time.monotonic() - started < 5
    assert (ending["exit_code"], ending["message"], ending["hint"]) == (130, "interrupted", "")
    assert kept(tmp_path) == []


def test_a_deaf_rank_has_some_seconds_after_another_failed(launch: Callable[..., Launcher]) -> None:
    launcher = launch("deaf")
    launcher.rank(1).kill()
    started = time.monotonic()
    ending, _, _ = launcher.ending()
    assert 1.5 < time.monotonic() - started < 15
    assert ending["message"] == "rank 1 was killed by SIGKILL (out of memory?)"


def test_a_stopped_rank_is_named_where_no_other_rank_tells(launch: Callable[..., Launcher]) -> None:
    ending, _, _ = launch("stopped", NANOCHAT_RANK_TIMEOUT="0.5").ending()
    assert ending["message"] == "rank 1 has not answered for 0.5 s"


def test_ctrl_z_stops_all_and_accuses_nobody(launch: Callable[..., Launcher]) -> None:
    launcher = launch("loop", NANOCHAT_RANK_TIMEOUT="0.3")
    processes = [psutil.Process(launcher.process.pid), launcher.rank(0), launcher.rank(1)]
    launcher.process.send_signal(signal.SIGTSTP)
    until = time.monotonic() + 10
    while not all(process.status() == psutil.STATUS_STOPPED for process in processes):
        assert time.monotonic() < until
        time.sleep(0.02)
    launcher.process.send_signal(signal.SIGCONT)
    while any(process.status() == psutil.STATUS_STOPPED for process in processes):
        assert time.monotonic() < until
        time.sleep(0.02)
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.ending()[0]["exit_code"] == 75


def test_the_real_torchrun(tmp_path: Path) -> None:
    """It hands standard error down as its standard input, and reports in the form that is read here."""
    command = ranks.command(2, "killed", str(tmp_path))
    ending, printed, told = Launcher(command, tmp_path, OMP_NUM_THREADS="1").ending()
    assert ending["message"] == "rank 1 was killed by SIGKILL (out of memory?)"
    assert (printed, told) == (["rank 0 prints"], "rank 0 tells\n")


class TestPulse:
    """Ranks that compute together over gloo."""

    @pytest.fixture
    def start(self, tmp_path: Path) -> Callable[..., Launcher]:
        return lambda what: Launcher(
            launched.command(2, what, tmp_path, "fork"), tmp_path, NANOCHAT_RANK_TIMEOUT="3", OMP_NUM_THREADS="1"
        )

    def test_a_stopped_rank(self, start: Callable[..., Launcher]) -> None:
        launcher = start("stopped")
        launcher.rank(1)
        started = time.monotonic()
        ending, _, _ = launcher.ending()
        assert ending["message"] == "rank 1 has not answered for 3 s"
        assert time.monotonic() - started < 3 + 10

    @pytest.mark.parametrize("who", ["launcher", "torchrun"])
    def test_without_parents_the_ranks_save_and_leave(
        self, start: Callable[..., Launcher], tmp_path: Path, who: str
    ) -> None:
        launcher = start("loop")
        agent = launcher.rank(0).parent()
        assert agent is not None
        if who == "launcher":
            launcher.process.kill()
            wait_until_none_lives(tmp_path)
            launcher.process.communicate()
        else:
            agent.kill()
            assert launcher.ending()[0]["exit_code"] == 75
        assert (tmp_path / "saved").exists()
        assert [(tmp_path / f"{rank}.left").read_text() for rank in (0, 1)] == ["left", "left"]

    def test_without_our_launcher_one_rank_tells_it(self, tmp_path: Path) -> None:
        run = subprocess.run(
            launched.command(2, "error", tmp_path, "fork"),
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert run.returncode == 5
        assert run.stdout == "rank 0 prints\n"
        assert run.stderr == "rank 0 tells\nerror: the losses are not numbers\nhint: lower --matrix-lr\n"
