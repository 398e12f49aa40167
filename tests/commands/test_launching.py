"""When `train`, `eval` and `speedrun` start themselves in several processes, with which words, and what is told."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from nanochat.cli import COMMANDS, main
from nanochat.commands import launching
from nanochat.runtime.launch import supervise as launcher
from nanochat.runtime.launch.ending import Ending

LAUNCHING = ("train base", "train mid", "train sft", "train rl", "eval base", "eval chat", "speedrun")
TWO = ("--device", "cpu", "--nproc", "2")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests, and of no batch system."""
    for name in [name for name in os.environ if name.startswith(("NANOCHAT_", "SLURM_", "RANK", "WORLD_SIZE"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.setenv("NANOCHAT_BASE_DIR", str(tmp_path / "base"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines that would have been run; all of them end well."""
    return starts(monkeypatch, Ending())


def starts(monkeypatch: pytest.MonkeyPatch, ending: Ending) -> list[list[str]]:
    lines: list[list[str]] = []

    def supervise(command: Sequence[str], nproc: int, environ: Mapping[str, str]) -> Ending:
        lines.append(list(command))
        assert nproc == 2
        return ending

    monkeypatch.setattr(launcher, "supervise", supervise)
    return lines


@pytest.mark.parametrize("name", LAUNCHING)
def test_the_same_words_in_every_process(
    name: str, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--base-dir", "with space", *name.split(), *TWO]
    assert main(words) == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    assert started == [[*torchrun, "--max-restarts", "0", "-m", "--", "nanochat", *words]]
    said = capsys.readouterr()
    assert said.err == shlex.join(started[0]) + "\n"
    assert said.out == ""


def test_of_several_machines_each_says_where_they_meet(
    started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "mid", *TWO, "--nnodes", "3", "--node-rank", "1", "--rdzv-endpoint", "gpu01"]) == 0
    line, meeting = capsys.readouterr().err.splitlines()
    assert line == shlex.join(started[0])
    assert meeting == "machine 1 of 3, from 0; all meet at gpu01:29500"


def test_the_number_of_gpus_is_the_default(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "_count_gpus", lambda: 2)
    assert main(["train", "mid"]) == 0
    assert main(["train", "mid", "--nproc", "auto", "--device", "cuda"]) == 0
    assert len(started) == 2


@pytest.mark.parametrize("name", LAUNCHING)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--nproc", "0"), "--nproc: expected a whole number from 1 on, or auto, found '0'"),
        (("--nproc", "many"), "--nproc: expected a whole number from 1 on, or auto, found 'many'"),
        (("--nnodes", "2"), "--nnodes 2 needs --rdzv-endpoint"),
        (("--seed", "x"), "--seed"),
    ],
)
def test_nothing_is_started_before_all_is_checked(
    name: str, wrong: Sequence[str], message: str, started: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "eval chat" and wrong[0] == "--seed":
        wrong, message = ("--threads", "x"), "--threads"
    assert main([*name.split(), *TWO, *wrong]) == 2
    assert message in capsys.readouterr().err
    assert not started


def test_sizes_are_checked_first(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "base", *TWO, "--window-pattern", "X"]) == 2
    assert not started
    assert capsys.readouterr().err.startswith("error:")


@pytest.mark.parametrize("words", [("train", "base", "--dry-run"), ("train", "base", "--help"), ("speedrun", "--help")])
def test_help_and_plans_start_nothing(words: Sequence[str], started: list[list[str]]) -> None:
    assert main([*words, *TWO]) == 0
    assert not started


def test_an_error_of_a_rank_is_told_like_ones_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starts(monkeypatch, Ending(exit_code=5, message="the losses are not numbers", hint="lower them", rank=1))
    assert main(["train", "sft", *TWO]) == 5
    assert capsys.readouterr().err.splitlines()[1:] == ["error: the losses are not numbers", "hint: lower them"]


def test_a_bug_keeps_its_traceback_and_its_rank(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = "Traceback (most recent call last):\n  ...\nValueError: x\n"
    starts(monkeypatch, Ending(exit_code=1, message="ValueError: x", trace=trace, rank=1))
    assert main(["train", "sft", *TWO]) == 1
    assert capsys.readouterr().err.splitlines()[1:] == ["rank 1:", *trace.splitlines()]


def test_an_ending_without_words_is_a_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    starts(monkeypatch, Ending(exit_code=143))
    assert main(["train", "sft", *TWO]) == 143
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_one_of_several_starts_no_more(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")  # a single process of torchrun: it goes on here, and lacks a model
    assert main(["train", "mid", "--device", "cpu", "--nproc", "1"]) == 3
    assert main(["train", "mid", *TWO]) == 2
    assert not started


def test_a_task_of_slurm_becomes_a_rank(started: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, str]] = []

    def open_context(*args: object, **options: object) -> None:
        told.append({name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")})
        raise KeyboardInterrupt

    monkeypatch.setattr("nanochat.runtime.devices.open_context", open_context)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    for name in names:
        monkeypatch.setenv(name, "to be put back")
        monkeypatch.delenv(name)
    for name, value in (("PROCID", "0"), ("STEP_NUM_TASKS", "2"), ("STEP_NODELIST", "gpu[07-08]")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    try:
        assert main(["train", "mid", "--device", "cpu"]) == 130
    finally:
        for name in names:
            os.environ.pop(name, None)
    assert told == [{"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "gpu07"}]
    assert not started


def test_every_command_that_trains_has_the_options() -> None:
    import importlib

    def takes(name: str) -> bool:
        module, attribute = COMMANDS[name][0].split(":")
        params: Callable[[], list[object]] = getattr(importlib.import_module(module), attribute).params
        return any("--nproc" in getattr(param, "opts", ()) for param in params)  # type: ignore[attr-defined]

    assert {name for name, (place, _) in COMMANDS.items() if place and takes(name)} == set(LAUNCHING)
