"""`nanochat config show`, and the flags, consoles and questions of `commands/options.py`."""

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result

from nanochat.cli import main
from nanochat.commands.options import (
    base_dir_option,
    config_options,
    confirm,
    emit_json,
    human_console,
    is_plain,
    json_option,
    yes_option,
)
from nanochat.config.fields import REQUIRED, option
from nanochat.config.load import Preset, Resolved
from nanochat.errors import NanochatError, UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    depth: int = option(12, "Layers of the model.")
    max_chars: int = option(2_000_000_000, "Read so much text.", unit="chars", parse="count")
    compile: bool = option(True, "Compile the model.")
    era: Literal["A", "D"] = option("D", "State of the architecture.")
    model: str = option(REQUIRED, "What to start from.")
    tag: str | None = option(None, "Name of the result.")
    folder: str | None = option(None, "Where to write.", parse="path")
    secret: int = option(1, "Not listed.", hidden=True)


@click.command()
@click.argument("recipe", required=False)
@config_options(
    Train, "train", preset=lambda params: Preset("tiny", {"depth": 2}) if params["recipe"] == "tiny" else None
)
@base_dir_option
@json_option
@yes_option
def train(recipe: str | None, config: Resolved[Train], base_dir: str | None, as_json: bool, yes: bool) -> None:
    """Train something."""
    emit_json({"config": config.value, "origins": config.origins, "base_dir": base_dir, "json": as_json})


@pytest.fixture(autouse=True)
def _empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NANOCHAT_BASE_DIR", raising=False)
    monkeypatch.setattr("nanochat.config.load.user_config_file", lambda: tmp_path / "none" / "config.toml")


def run(*args: str) -> Any:
    result = CliRunner().invoke(train, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refuse(*args: str) -> Result:
    result = CliRunner().invoke(train, args)
    assert result.exit_code == 2
    return result


def test_flags_reach_the_configuration() -> None:
    said = run("--model", "d4", "--depth", "6", "--max-chars", "10M", "--no-compile", "--era", "A", "--json")
    assert said["config"]["depth"] == 6
    assert said["config"]["max_chars"] == 10_000_000
    assert said["config"]["compile"] is False
    assert said["config"]["era"] == "A"
    assert said["json"] is True


def test_only_flags_that_were_given_count_as_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("nanochat.toml").write_text("base_dir = 'here'\n")
    origins = run("--model", "d4", "--compile")["origins"]
    assert origins["model"] == {"kind": "flag", "name": "--model"}
    assert origins["compile"] == {"kind": "flag", "name": "--compile"}
    assert origins["depth"] == {"kind": "default", "name": ""}


def test_a_preset_gives_way_to_flags() -> None:
    assert run("tiny", "--model", "d4")["config"]["depth"] == 2
    assert run("tiny", "--model", "d4", "--depth", "3")["config"]["depth"] == 3
    assert run("other", "--model", "d4")["config"]["depth"] == 12


def test_base_dir_comes_from_flag_variable_or_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("--model", "d4")["base_dir"] is None
    Path("nanochat.toml").write_text("base_dir = 'models'\n")
    assert run("--model", "d4")["base_dir"] == str(tmp_path / "models")
    monkeypatch.setenv("NANOCHAT_BASE_DIR", "/variable")
    assert run("--model", "d4")["base_dir"] == "/variable"
    assert run("--model", "d4", "--base-dir", "/flag")["base_dir"] == "/flag"


def test_base_dir_may_stand_before_the_command() -> None:
    group = click.Group("top", commands=[train], params=[click.Option(["--base-dir"])])
    said = [
        json.loads(CliRunner().invoke(group, [*before, "train", "--model", "d4", *after]).stdout)["base_dir"]
        for before, after in ((["--base-dir", "/a"], []), (["--base-dir", "/a"], ["--base-dir", "/b"]))
    ]
    assert said == ["/a", "/b"]


def test_help_shows_defaults_units_and_choices_of_the_class() -> None:
    lines = CliRunner().invoke(train, ["--help"]).stdout.splitlines()
    text = " ".join(" ".join(lines).split())
    assert "--depth INT Layers of the model. [default: 12]" in text
    assert "--max-chars CHARS Read so much text. [default: 2B]" in text
    assert "--compile / --no-compile Compile the model. [default: compile]" in text
    assert "--era [A|D] State of the architecture. [default: D]" in text
    assert "--model TEXT What to start from. [required]" in text
    assert "--tag TEXT Name of the result. --folder PATH" in text
    assert "secret" not in text
    assert text.index("--depth") < text.index("--folder") < text.index("--base-dir") < text.index("--json")


def test_wrong_values_are_refused() -> None:
    assert "expected a whole number, found 'six'" in refuse("--depth", "six").stderr
    assert "expected one of A, D, found 'Z'" in refuse("--era", "Z").stderr


def test_a_required_value_is_asked_for() -> None:
    with pytest.raises(UsageError, match="model is not given"):
        CliRunner().invoke(train, [], catch_exceptions=False)


# config show


def test_show_names_value_and_origin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NANOCHAT_BASE_DIR", "/big/disk")
    assert main(["config", "show", "global"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["base_dir", "/big/disk", "NANOCHAT_BASE_DIR"]
    assert lines[1].split() == ["log_format", "text", "default"]


def test_show_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Path("nanochat.toml").write_text("base_dir = '/big'\n")
    assert main(["config", "show", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    file = str(tmp_path / "nanochat.toml")
    assert said["files"] == [file]
    assert said["sections"]["global"]["base_dir"] == {
        "value": "/big",
        "origin": {"kind": "file", "name": file},
    }


def test_show_lists_every_section(capsys: pytest.CaptureFixture[str]) -> None:
    from nanochat.config.sections import GLOBAL, SECTIONS

    assert main(["config", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("[")] == [f"[{name}]" for name in SECTIONS if name != GLOBAL]


def test_show_of_no_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", "globl"]) == 2
    assert capsys.readouterr().err == ("error: no section 'globl'; did you mean global?\nhint: nanochat config show\n")


def test_show_refuses_a_misspelt_key(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Path("nanochat.toml").write_text("base_dri = 'x'\n")
    assert main(["config", "show"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {tmp_path / 'nanochat.toml'}: unknown key base_dri; did you mean base_dir?"
    assert hint == "hint: nanochat config show"


# what commands share


class Stream(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environ", "plain"),
    [
        (True, {}, False),
        (True, {"NO_COLOR": ""}, False),
        (True, {"NO_COLOR": "1"}, True),
        (True, {"TERM": "dumb"}, True),
        (True, {"TERM": "xterm-256color"}, False),
        (False, {"TERM": "xterm-256color"}, True),
    ],
)
def test_when_output_is_plain(terminal: bool, environ: dict[str, str], plain: bool) -> None:
    assert is_plain(Stream(terminal), environ) is plain


@pytest.mark.parametrize("no_color", [True, False])
def test_the_console_is_stderr_and_keeps_the_rules(no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", stream := Stream(terminal=True))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    human_console().print("[red]hello[/red]")
    assert ("\x1b[" in stream.getvalue()) is not no_color
    assert "hello" in stream.getvalue()


def test_json_has_no_nan_and_keeps_letters(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"loss": math.nan, "path": Path("a"), "pair": (1, True), "word": "é", 3: None})
    said = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(name))
    assert said == {"loss": None, "path": "a", "pair": [1, True], "word": "é", "3": None}


def test_a_question_needs_someone_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Stream(terminal=False))
    confirm("Delete?", yes=True)
    with pytest.raises(UsageError, match="cannot ask") as caught:
        confirm("Delete?", yes=False)
    assert caught.value.hint == "add --yes"


@pytest.mark.parametrize("answer", [True, False])
def test_a_question_is_answered(answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def ask(question: str, err: bool) -> bool:
        asked.append((question, err))
        return answer

    monkeypatch.setattr("sys.stdin", Stream(terminal=True))
    monkeypatch.setattr(click, "confirm", ask)
    check: Callable[[], None] = lambda: confirm("Delete?", yes=False)  # noqa: E731
    if answer:
        check()
    else:
        with pytest.raises(NanochatError, match="nothing was changed"):
            check()
    assert asked == [("Delete?", True)]
