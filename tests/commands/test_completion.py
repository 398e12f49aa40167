"""TAB as a shell presses it, and the scripts in `completions/`."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanochat.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]
SCRIPTS = {"bash": "bash", "zsh": "zsh", "fish": "fish", "powershell": "ps1"}
HEAVY = ("torch", "numpy", "rich", "pyarrow", "textual", "fastapi")


def press_tab(shell: str, line: str, word: int) -> list[str]:
    """What the shell's script gets back: the lines of `_NANOCHAT_COMPLETE=bash_complete nanochat`."""
    environ = {
        **os.environ,
        "_NANOCHAT_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(word) if shell != "fish" else "",
    }
    done = subprocess.run([sys.executable, "-m", "nanochat"], env=environ, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_commands_are_completed() -> None:
    names = [name for name in COMMANDS if " " not in name]
    assert press_tab("bash", "nanochat ", 1) == [f"plain,{name}" for name in names]
    assert press_tab("bash", "nanochat comp", 1) == ["plain,completion"]
    assert press_tab("bash", "nanochat config ", 2) == ["plain,show"]


def test_flags_and_arguments_are_completed() -> None:
    assert "plain,--json" in press_tab("bash", "nanochat config show --", 3)
    assert press_tab("bash", "nanochat config show glo", 3) == ["plain,global"]
    assert press_tab("bash", "nanochat completion ", 2) == [f"plain,{shell}" for shell in SCRIPTS]


def test_zsh_fish_and_powershell_see_help_too() -> None:
    help_line = COMMANDS["completion"][1]
    assert press_tab("zsh", "nanochat comp", 1) == ["plain", "completion", help_line]
    assert press_tab("powershell", "nanochat comp", 1) == ["plain", "completion", help_line]
    assert f"plain,completion\t{help_line}" in press_tab("fish", "nanochat ", 1)


@pytest.mark.parametrize("name", [name for name, (place, _) in COMMANDS.items() if place])
def test_completing_a_command_imports_nothing_heavy(name: str) -> None:
    code = f"""
import os, sys
os.environ["_NANOCHAT_COMPLETE"] = "bash_complete"
os.environ["COMP_WORDS"] = "nanochat {name} --"
os.environ["COMP_CWORD"] = "{len(name.split()) + 1}"
from nanochat.cli import main
assert main([]) == 0
print(*set(sys.modules) & set({HEAVY}), file=sys.stderr, end="")
"""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    print(f"TAB after nanochat {name}: {1000 * (time.perf_counter() - started):.0f} ms")
    assert done.stderr == ""
    assert "plain,--help" in done.stdout


@pytest.mark.parametrize("shell", SCRIPTS)
def test_scripts_are_those_of_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`nanochat completion bash > completions/nanochat.bash` makes them again."""
    assert main(["completion", shell]) == 0
    file = ROOT / "completions" / f"nanochat.{SCRIPTS[shell]}"
    assert capsys.readouterr().out == file.read_text(encoding="utf-8")


def test_an_unknown_shell_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: SHELL: 'tcsh' is not one of 'bash', 'zsh', 'fish', 'powershell'",
        "hint: nanochat completion --help",
    ]


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_a_real_bash_completes_on_tab(tmp_path: Path) -> None:
    program = tmp_path / "nanochat"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nanochat "$@"\n')
    program.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PS1": "$ ",
        "TERM": "dumb",
    }
    master, slave = pty.openpty()
    bash = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environ,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(slave)
    try:
        os.write(master, f"source {ROOT}/completions/nanochat.bash\n".encode())
        os.write(master, b"nanochat conf\tsh\tglo\t\n")
        seen = _read_until(master, "base_dir", seconds=30)
    finally:
        bash.kill()
        bash.wait()
        os.close(master)
    assert "nanochat config show global" in seen


def _read_until(master: int, text: str, seconds: float) -> str:
    """Output of the terminal up to `text`, or all of it when `seconds` have passed."""
    seen, until = "", time.monotonic() + seconds
    while text not in seen and (left := until - time.monotonic()) > 0:
        if select.select([master], [], [], left)[0]:
            seen += os.read(master, 4096).decode(errors="replace")
    return seen
