"""How a command that runs stages is shown: for people or programs, with its cost, to loggers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from nanochat.cli import main
from nanochat.loggers import attach
from nanochat.runtime.events import StageFinished, StageStarted, StepDone, read_events
from nanochat.stages import pretrain as stage
from nanochat.stages.folder import StageResult

QUIET = ("--device", "cpu", "--dtype", "float32", "--compile", "off", "--threads", "1")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("NANOCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A base stage of two steps that trains nothing."""

    def pretrain(config: Any, context: Any, on_event: Any) -> StageResult:
        on_event(StageStarted(stage="base", tag=config.tag, total_steps=2, tokens=2))
        for number in (1, 2):
            on_event(
                StepDone(
                    stage="base",
                    step=number,
                    total_steps=2,
                    loss=1.0,
                    lr_multiplier=1.0,
                    tokens_per_s=1.0,
                    tokens=number,
                    elapsed_s=1.0,
                )
            )
        if config.tag == "warns":
            warnings.warn("something of a library", UserWarning, stacklevel=1)
        on_event(StageFinished(stage="base", step=2, elapsed_s=1.0, summary={"nested": [float("nan")]}))
        return StageResult(folder=tmp_path, summary={})

    monkeypatch.setattr(stage, "pretrain", pretrain)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.usefixtures("pretend")
def test_every_line_for_programs_is_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["train", "base", *QUIET, "--tag", "warns", "--log-format", "json", "--price-per-hour", "3"]) == 0
    found = lines(capsys.readouterr().err)
    assert [line["event"] for line in found] == ["StageStarted", "StepDone", "StepDone", "Notice", "StageFinished"]
    assert found[3]["message"] == "UserWarning: something of a library"
    assert found[4]["summary"] == {"nested": [None]}
    assert all(abs(line["time"] - found[0]["time"]) < 60 for line in found)


def test_the_lines_are_those_of_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "pocket", "--size", "100K", "--base-dir", "b", "--log-format", "json"]) == 0
    assert main(["tokenizer", "train", "--vocab-size", "300", "--base-dir", "b", "--log-format=json"]) == 0
    capsys.readouterr()
    tiny = "--depth 2 --head-dim 16 --sequence-len 32 --device-batch-size 1 --total-batch-size 32 --num-steps 2"
    words = ["train", "base", *QUIET, *tiny.split(), "--eval-tokens", "64", "--base-dir", "b", "--log-format", "json"]
    assert main(words) == 0
    found = lines(capsys.readouterr().err)
    logged = read_events(tmp_path / "b" / "models" / "my-model" / "base" / "events.jsonl")
    assert {line["event"] for line in logged} >= {"StageStarted", "StepDone", "Evaluated", "Sampled", "StageFinished"}
    for line in (*found, *logged):
        del line["time"]
    assert found == logged


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (["--depth", "x"], 2, "--depth: expected a whole number, found 'x'", "nanochat train base --help"),
        (["--dept", "2"], 2, "no such option --dept; did you mean --depth?", "nanochat train base --help"),
        (["--price-per-hour", "-1"], 2, "price_per_hour (-1.0) must be above 0", "try --price-per-hour 24"),
        (["--data", "none"], 3, "data set 'none' has no shards", "nanochat data"),
    ],
)
def test_errors_are_lines_for_programs_too(
    words: list[str], code: int, message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "base", *QUIET, *words, "--base-dir", "b", "--log-format", "json"]) == code
    *_, last = lines(capsys.readouterr().err)
    assert (last["event"], last["exit_code"]) == ("Error", code)
    assert message in last["message"]
    assert hint in last["hint"]


def test_a_bug_is_one_line_with_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pretrain(config: Any, context: Any, on_event: Any) -> StageResult:
        raise KeyError("lost")

    monkeypatch.setattr(stage, "pretrain", pretrain)
    monkeypatch.setenv("NANOCHAT_LOG_FORMAT", "json")
    assert main(["train", "base", *QUIET]) == 1
    (line,) = lines(capsys.readouterr().err)
    assert line["message"] == "KeyError: 'lost'"
    assert "in pretrain" in line["traceback"]
    monkeypatch.delenv("NANOCHAT_LOG_FORMAT")
    with pytest.raises(KeyError):
        main(["train", "base", *QUIET])


@pytest.mark.usefixtures("pretend")
def test_the_next_command_of_a_process_is_for_people_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "none", "--log-format", "json"]) == 2
    assert lines(capsys.readouterr().err)[-1]["event"] == "Error"
    assert main(["models", "show", "none"]) == 3
    assert capsys.readouterr().err.startswith("error: ")


def test_nobody_is_asked_where_stderr_is_for_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "identity.jsonl").write_text("something else\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main(["data", "identity", "--name", "Bob", "--log-format", "json"]) == 2
    *_, last = lines(capsys.readouterr().err)
    assert last["hint"] == "add --yes"


def test_a_reader_that_has_gone_does_not_end_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nanochat", "data", "pocket", "--size", "100K", "--log-format", "json"]
    process = subprocess.Popen(
        [*command, "--base-dir", "b"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    process.stderr.close()
    assert process.stdout.read().strip().endswith("pocket")
    process.stdout.close()
    assert process.wait() == 0


@pytest.mark.usefixtures("pretend")
class TestPrice:
    def test_it_is_told_at_the_end(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", "base", *QUIET, "--price-per-hour", "3600"]) == 0
        assert " at $3,600 an hour" in capsys.readouterr().err.splitlines()[-1]

    def test_it_can_stand_in_a_file_and_in_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "nanochat.toml").write_text("price_per_hour = 24")
        assert main(["train", "base", *QUIET]) == 0
        assert " at $24.00 an hour" in capsys.readouterr().err
        monkeypatch.setenv("NANOCHAT_PRICE_PER_HOUR", "12")
        assert main(["train", "base", *QUIET]) == 0
        assert " at $12.00 an hour" in capsys.readouterr().err


@pytest.mark.usefixtures("pretend")
class TestLoggers:
    def test_a_missing_library_is_said_before_anything_begins(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(attach, "find_spec", lambda name: None)
        assert main(["train", "base", *QUIET, "--logger", "wandb", "--base-dir", "b"]) == 3
        said = capsys.readouterr().err
        assert said.splitlines()[-1] == 'hint: pip install "nanochat[wandb]"'
        assert not (tmp_path / "b").exists()

    def test_they_are_told_of_the_run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ["--logger", "tensorboard", "--logger", "tensorboard", "--base-dir", "b", "--tag", "t"]
        assert main(["train", "base", *QUIET, *words]) == 0
        folder = tmp_path / "b" / "logs" / "tensorboard"
        assert f"  tensorboard --logdir {folder}" in capsys.readouterr().err.splitlines()
        assert len(list(folder.glob("t/base/*/events.out.tfevents.*"))) == 1

    def test_a_file_can_name_several(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []
        monkeypatch.setattr(attach, "check_installed", asked.append)
        monkeypatch.setattr(attach, "LoggerProcess", lambda name, paths, on_event: _Deaf())
        (tmp_path / "nanochat.toml").write_text('logger = "wandb, tensorboard"')
        assert main(["train", "base", *QUIET, "--base-dir", "b"]) == 0
        assert main(["train", "base", *QUIET, "--base-dir", "b", "--logger", "trackio"]) == 0
        assert asked == [("wandb", "tensorboard"), ("trackio",)]

    def test_a_name_that_is_none(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "nanochat.toml").write_text('logger = "wnadb"')
        assert main(["train", "base", *QUIET]) == 2
        assert "expected loggers among tensorboard, wandb, trackio, found 'wnadb'" in capsys.readouterr().err


class _Deaf:
    """A logger that hears nothing."""

    def send(self, line: bytes, *, dispensable: bool) -> None: ...

    def end(self) -> None: ...

    def wait(self, deadline: float) -> None: ...
