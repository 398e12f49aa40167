"""Logs that grow, are cut, replaced or absent: each line comes once, and only what is new is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.tui.watch.reading import Tail, Watched


def lines(tail: Tail, limit: int = 1 << 16) -> list[bytes]:
    """Everything that is new."""
    found: list[bytes] = []
    while True:
        news = tail.read(limit)
        found += news.lines
        if not news.left:
            return found


def test_a_file_that_is_not_there_yet_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert lines(tail) == []
    path.write_bytes(b"one\ntw")
    assert lines(tail) == [b"one"]
    assert lines(tail) == []
    with path.open("ab") as file:
        file.write(b"o\nthree\n")
    assert lines(tail) == [b"two", b"three"]
    path.unlink()
    assert lines(tail) == []


def test_only_new_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 99 + b"\n" + b"y" * 99 + b"\n")
    tail = Tail(path)
    assert len(lines(tail)) == 2
    opened: list[Path] = []
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args: opened.append(self) or real(self, *args))
    assert lines(tail) == []
    assert opened == []
    with real(path, "ab") as file:
        file.write(b"z\n")
    assert lines(tail) == [b"z"]
    assert len(opened) == 1


@pytest.mark.parametrize("content", [b"new\n", b"another\nand one\nand one more\nuntil it is longer\n"])
def test_another_file_in_its_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\nthree\n")
    tail = Tail(path)
    assert len(lines(tail)) == 3
    path.write_bytes(content)
    news = tail.read()
    assert news.anew
    assert news.lines == content.splitlines()
    assert not tail.read().anew


def test_a_copy_that_has_grown_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntwo\n")
    tail = Tail(path)
    assert len(lines(tail)) == 2
    copy = tmp_path / "copy"
    copy.write_bytes(b"one\ntwo\nthree\n")
    copy.replace(path)
    news = tail.read()
    assert (news.lines, news.anew) == ([b"three"], False)


def test_a_line_longer_than_a_block_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\n" + b"x" * 1000 + b"\ntwo\nthree\n")
    assert lines(Tail(path), limit=64) == [b"one", b"two", b"three"]


@settings(max_examples=60, deadline=None)
@given(parts=st.lists(st.binary(max_size=40), max_size=12), limit=st.integers(45, 200))
def test_every_line_comes_once_however_it_was_written(
    parts: list[bytes], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("log") / "log"
    tail, found, whole = Tail(path), [], b""
    for part in parts:
        with path.open("ab") as file:
            file.write(part)
        whole += part
        found += lines(tail, limit)
    expected = whole.split(b"\n")[:-1]
    assert found == [line for line in found if line in expected]
    if all(len(line) < limit for line in whole.split(b"\n")):
        assert found == expected


def test_watched_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    loads = []

    def load() -> int:
        loads.append(1)
        return len(loads)

    folder = tmp_path / "eval"
    watched = Watched(load, 0, tmp_path / "a.json", folder)
    assert (watched.read(), watched.value) == (True, 1)
    assert not watched.read()
    (tmp_path / "a.json").write_text("1")
    assert (watched.read(), watched.value) == (True, 2)
    folder.mkdir()
    assert watched.read()
    (folder / "b.json").write_text("1")
    assert watched.read()
    (folder / "b.json").write_text("12")
    assert watched.read()
    assert not watched.read()


def test_a_file_that_cannot_be_read_leaves_the_value(tmp_path: Path) -> None:
    def load() -> int:
        raise PermissionError(13, "Permission denied", "x")

    watched = Watched(load, 7, tmp_path)
    assert (watched.read(), watched.value) == (False, 7)
