"""The handbook: every command in it can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from nanochat.cli import root

PAGES = sorted((Path(__file__).parent.parent / "docs").glob("*.md"))
COMMANDS = [
    (page.stem, line.strip())
    for page in PAGES
    for line in re.findall(r"^(?: {4})?(nanochat .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_can_be_typed(page: str, line: str) -> None:
    program, *words = shlex.split(line, comments=True)
    assert program == "nanochat"
    command: click.Command | None = root
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(root), words.pop(0))
    assert command is not None
    command.make_context(line, words).close()


def test_the_commands_are_found() -> None:
    assert {page for page, _ in COMMANDS} >= {"conversations", "data", "downloads"}
