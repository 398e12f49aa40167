"""The boundary: help, version, exit codes, and two lines for every expected error."""

import errno
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from nanochat import cli, errors

GOLDEN = Path(__file__).parent / "golden" / "help"
DESIGN_ORDER = [
    *("speedrun", "data", "tokenizer", "train", "eval", "chat", "serve", "report", "models", "watch"),
    *("sweep", "slurm", "bench", "doctor", "config", "completion"),
]
HEAVY = (
    *("torch", "textual", "fastapi", "rich", "pyarrow", "numpy", "tiktoken", "safetensors"),
    *("urllib3", "httpx2", "huggingface_hub"),
)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a function in the table as the command `probe`."""

    def install(function: Callable[..., Any], *params: click.Parameter) -> None:
        probe = click.Command("probe", callback=function, params=list(params))
        monkeypatch.setattr(sys.modules[__name__], "PROBE", probe)
        monkeypatch.setitem(sys.modules, "probe_module", sys.modules[__name__])
        monkeypatch.setitem(cli.COMMANDS, "probe", ("probe_module:PROBE", "Try something."))

    return install


PROBE: click.Command | None = None


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


# help and version


@pytest.mark.parametrize("name", ["", *cli.COMMANDS])
def test_help_pages(name: str, request: pytest.FixtureRequest) -> None:
    # a process of its own: click keeps the help option of whoever asked a command first
    result = subprocess.run(
        [sys.executable, "-m", "nanochat", *name.split(), "--help"],
        env={**os.environ, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    text = result.stdout
    file = GOLDEN / f"{'-'.join(['nanochat', *name.split()])}.txt"
    if request.config.getoption("--update-golden", default=False):
        file.write_text(text, encoding="utf-8")
    assert file.exists(), f"{file.name} is not there; make it with pytest --update-golden"
    assert text == file.read_text(encoding="utf-8")


def test_no_help_page_outlives_its_command() -> None:
    expected = {"-".join(["nanochat", *name.split()]) for name in ["", *cli.COMMANDS]}
    assert {file.stem for file in GOLDEN.iterdir()} == expected


def test_commands_stand_in_the_order_of_the_work() -> None:
    tops = [name for name in cli.COMMANDS if " " not in name]
    assert tops == [name for name in DESIGN_ORDER if name in tops]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_table_says_what_the_commands_say(name: str) -> None:
    place, help_line = cli.COMMANDS[name]
    if not place:
        assert any(other.startswith(f"{name} ") for other in cli.COMMANDS), "a group without commands"
        return
    module, attribute = place.split(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, click.Command)
    assert (found.help or "").splitlines()[0] == help_line
    assert found.name == name.split()[-1]
    assert len(name.split()) == 1 or name.rsplit(" ", 1)[0] in cli.COMMANDS


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["config", "--help"]])
def test_help_and_version_import_nothing_heavy(args: list[str]) -> None:
    code = f"""
import sys
from nanochat.cli import main
assert main({args}) == 0
print(*set(sys.modules) & set({HEAVY}), file=sys.stderr, end="")
"""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    print(f"nanochat {' '.join(args)}: {1000 * (time.perf_counter() - started):.0f} ms")
    assert done.stderr == ""
    assert "nanochat" in done.stdout


def test_without_arguments_help_goes_to_stderr(capsys: Any) -> None:
    assert cli.main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Usage: nanochat")


# errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.NanochatError, 1),
        (errors.UsageError, 2),
        (errors.MissingError, 3),
        (errors.OutOfMemoryError, 4),
        (errors.DivergedError, 5),
        (errors.StorageError, 1),
        (errors.DamagedError, 1),
        (errors.Interrupted, 75),
    ],
)
def test_expected_errors_are_two_lines_and_a_code(
    kind: type[errors.NanochatError], code: int, command: Any, capsys: Any
) -> None:
    command(raising(kind("no model\nat all", "nanochat speedrun pocket")))
    assert cli.main(["probe"]) == code
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "error: no model at all\nhint: nanochat speedrun pocket\n")


def test_an_error_without_hint_is_one_line(command: Any, capsys: Any) -> None:
    command(raising(errors.NanochatError("that is all")))
    assert cli.main(["probe"]) == 1
    assert capsys.readouterr().err == "error: that is all\n"


@pytest.mark.parametrize(
    ("args", "error", "hint"),
    [
        (["probe", "--dept", "3"], "no such option --dept; did you mean --depth?", "nanochat probe --help"),
        (["probe", "-q"], "no such option -q", "nanochat probe --help"),
        (["prob"], "no such command 'prob'; did you mean probe?", "nanochat --help"),
        (["xyzzy"], "no such command 'xyzzy'", "nanochat --help"),
        (["config", "shwo"], "no such command 'shwo'; did you mean show?", "nanochat config --help"),
        (["probe", "--depth"], "option '--depth' requires an argument", "nanochat probe --help"),
        (["probe", "--depth", "six"], "--depth: 'six' is not a valid integer", "nanochat probe --help"),
        (["probe", "a", "b"], "got unexpected extra argument (b)", "nanochat probe --help"),
        (
            ["completion"],
            "SHELL is not given. Choose from: bash, zsh, fish, powershell",
            "nanochat completion --help",
        ),
    ],
)
def test_usage_errors(args: list[str], error: str, hint: str, command: Any, capsys: Any) -> None:
    command(
        lambda depth, word: None,
        click.Option(["--depth"], type=int),
        click.Argument(["word"], required=False),
    )
    assert cli.main(args) == 2
    assert capsys.readouterr().err == f"error: {error}\nhint: {hint}\n"


def test_a_bug_keeps_its_traceback(command: Any) -> None:
    for bug in (ZeroDivisionError("oops"), RuntimeError("oops"), FileNotFoundError(errno.ENOENT, "no", "x")):
        command(raising(bug))
        with pytest.raises(type(bug)):
            cli.main(["probe"])


@pytest.mark.parametrize(
    ("number", "path", "said", "hint"),
    [
        (errno.ENOSPC, "/data/x", "/data/x: No space left on device", "--base-dir"),
        (errno.ENOSPC, None, "the disk: No space left on device", "--base-dir"),
        (errno.EACCES, "/data/x", "/data/x: Permission denied", "access"),
        (errno.EROFS, "/data/x", "/data/x: Read-only file system", "--base-dir"),
    ],
)
def test_file_system_errors(number: int, path: str | None, said: str, hint: str, command: Any, capsys: Any) -> None:
    command(raising(OSError(number, os.strerror(number), path)))
    assert cli.main(["probe"]) == 1
    error, way_out = capsys.readouterr().err.splitlines()
    assert error == f"error: {said}"
    assert hint in way_out


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("MPS backend out of memory"), "out of memory: MPS backend out of memory"),
        (OutOfMemoryError("CUDA out of memory.\nTried"), "out of memory: CUDA out of memory."),
        (
            RuntimeError("[x] DefaultCPUAllocator: can't allocate"),
            "out of memory: [x] DefaultCPUAllocator: can't allocate",
        ),
    ],
)
def test_out_of_memory_names_the_flag_to_lower(error: Exception, said: str, command: Any, capsys: Any) -> None:
    def function(device_batch_size: int | None) -> None:
        raise error

    command(function, click.Option(["--device-batch-size"], type=int))
    assert cli.main(["probe"]) == 4
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"error: {said}"
    assert second.startswith("hint: lower --device-batch-size")


def test_out_of_memory_of_a_command_without_that_flag(command: Any, capsys: Any) -> None:
    command(raising(MemoryError()))
    assert cli.main(["probe"]) == 4
    assert "--device-batch-size" not in capsys.readouterr().err


# signals and pipes


def test_interrupt(command: Any, capsys: Any) -> None:
    command(raising(KeyboardInterrupt()))
    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_question_cut_short(command: Any, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def end_of_input(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("click.termui.visible_prompt_func", end_of_input)
    command(lambda: click.confirm("Sure?", err=True))
    assert cli.main(["probe"]) == 1
    assert "input ended" in capsys.readouterr().err


SLEEPER = """
import sys, time, click
from nanochat import cli
def sleep():
    try:
        print("ready", flush=True)
        time.sleep(30)
    finally:
        print("cleaned up", flush=True)
sleeper = click.Command("sleeper", callback=sleep)
cli.COMMANDS["sleeper"] = ("__main__:sleeper", "Sleep.")
sys.argv = ["nanochat", "sleeper"]
cli.entry()
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)])
def test_signals_end_the_process_through_its_finally_blocks(number: int, code: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "cleaned up\n")
    assert "Traceback" not in err


LEAVING = """
import atexit, sys, time
import click
from nanochat import cli
from nanochat.errors import Interrupted
def stop():
    raise Interrupted("stopped", "go on")
def linger():
    print("leaving", flush=True)
    time.sleep(0.5)
atexit.register(linger)
cli.COMMANDS["stopper"] = ("__main__:stopper", "Stop.")
stopper = click.Command("stopper", callback=stop)
sys.argv = ["nanochat", "stopper"]
cli.entry()
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_while_the_process_leaves_does_not_change_its_answer(number: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEAVING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "leaving\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == 75


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_quiet(unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", "config", "show"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_broken_pipe_of_another_kind_is_a_bug(command: Any) -> None:
    command(raising(BrokenPipeError(errno.EPIPE, "some socket")))
    with pytest.raises(BrokenPipeError):
        cli.main(["probe"])
