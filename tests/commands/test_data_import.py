"""`nanochat data import` as its user meets it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nanochat.cli import main
from nanochat.data.dataset import DataSet


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "text").mkdir()
    for number in range(30):
        (tmp_path / "text" / f"note {number}.md").write_text(f"# Note {number}\n\nSome words about {number}.\n")
    return tmp_path / "base"


def ask(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_import(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("data", "import", base.parent / "text", "--base-dir", base)
    code, out, err = ask(capsys, *words)
    assert (code, out) == (0, f"{base / 'data' / 'mine'}\n")
    assert "30 documents of 30 files, 3 of them for validation" in err
    code, out, err = ask(capsys, *words, "--json")
    report = json.loads(out)
    assert (code, report["already"], report["documents"], report["folder"]) == (0, True, 30, str(base / "data/mine"))
    assert "done before" in err


def test_losses_are_a_warning(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = base.parent / "a.jsonl"
    source.write_text('{"text": "a"}\nnonsense \x1b[31m\n{"text": "b"}\n')
    code, out, err = ask(capsys, "data", "import", source, "--base-dir", base, "--json")
    assert code == 0
    assert json.loads(out)["lost_rows"] == 1
    assert f"warning: {source}:2: not JSON" in err
    assert "\x1b" not in err


def test_replacing_asks(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "import", base.parent / "text", "--base-dir", base]
    assert ask(capsys, *words)[0] == 0
    code, _, err = ask(capsys, *words, "--seed", 1)
    assert code == 2
    assert "hint: add --replace" in err
    code, _, err = ask(capsys, *words, "--seed", 1, "--replace")
    assert code == 2
    assert "add --yes" in err
    assert ask(capsys, *words, "--seed", 1, "--replace", "--yes")[0] == 0
    assert ask(capsys, *words, "--seed", 1)[0] == 0


def test_wrong_input(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = base.parent / "empty"
    empty.mkdir()
    binary = base.parent / "a.bin"
    binary.write_bytes(b"\0\1")
    table = base.parent / "a.csv"
    table.write_text("title,body\na,b\n")
    for place, code, words in (
        ("nowhere", 3, "there is no nowhere"),
        (empty, 2, "holds no text"),
        (binary, 2, "zero bytes"),
        (table, 2, "hint: it has: title, body; name one with --column"),
        ("*.nothing", 3, "no file fits *.nothing"),
    ):
        found, _, err = ask(capsys, "data", "import", place, "--base-dir", base)
        assert found == code
        assert words in err
        assert err.count("\n") == 2
    assert ask(capsys, "data", "import", base.parent / "text", "--name", "a/b", "--base-dir", base)[0] == 2
    assert ask(capsys, "data", "import", "--base-dir", base)[0] == 2


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        for number in range(150_000):
            file.write(json.dumps({"text": f"{number} " * 40}) + "\n")
    return path


def start(large: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "nanochat", "data", "import", str(large), "--base-dir", str(large.parent / "base")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    built = large.parent / "base" / "data" / ".mine.importing"
    until = time.monotonic() + 20
    while not built.exists() and time.monotonic() < until:
        time.sleep(0.005)
    assert built.exists()
    return process


def test_stopped_and_killed(large: Path) -> None:
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = start(large)
        time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == code
        assert b"Traceback" not in err
        assert [path.name for path in (large.parent / "base" / "data").iterdir()] == [".mine.lock"]
    process = start(large)
    time.sleep(0.1)
    process.kill()
    process.communicate()
    assert not (large.parent / "base" / "data" / "mine").exists()
    process = start(large)
    assert process.wait() == 0
    process.communicate()
    assert DataSet.open(large.parent / "base" / "data" / "mine").train
    names = sorted(path.name for path in (large.parent / "base" / "data").iterdir())
    assert names == [".mine.lock", "mine"]


def on_terminal(answer: bytes, *words: object) -> tuple[int, str]:
    main_end, other_end = pty.openpty()
    command = [sys.executable, "-m", "nanochat", "data", "import", *map(str, words)]
    with subprocess.Popen(command, stdin=other_end, stdout=other_end, stderr=other_end) as process:
        os.close(other_end)
        shown = b""
        guard = threading.Timer(20, process.kill)  # if the question is never seen
        guard.start()
        try:
            while data := os.read(main_end, 4096):
                shown += data
                if answer and b"[y/N]" in shown:
                    time.sleep(0.6)  # what is painted four times a second must leave the question alone
                    os.write(main_end, answer)
                    answer = b""
        except OSError:  # the other side is closed
            pass
        guard.cancel()
    os.close(main_end)
    return process.returncode, shown.decode()


def test_on_a_terminal(base: Path) -> None:
    code, shown = on_terminal(b"", base.parent / "text", "--base-dir", base)
    assert code == 0
    assert "✓ data" in shown
    words = (base.parent / "text", "--base-dir", base, "--seed", 1, "--replace")
    code, shown = on_terminal(b"n\n", *words)
    assert code == 1
    _, asked, after = shown.partition(f"Replace the data set 'mine' (2 shards in {base / 'data' / 'mine'})? [y/N]: ")
    assert asked
    assert "\x1b" not in after.partition("\n")[0]
    assert "nothing was changed" in after
    assert on_terminal(b"y\n", *words)[0] == 0
