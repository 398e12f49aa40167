"""The handbook page on conversations: its examples are of the forms it says, and its commands exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import click
import pytest

from nanochat.cli import root
from nanochat.tasks.formats import convert

PAGE = (Path(__file__).parent.parent / "docs" / "conversations.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)[1:]
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]


def test_examples_have_the_form_they_stand_beside() -> None:
    found = {
        name.lower(): {convert(json.loads(text)).format for text in re.findall(r"`([{\[].*?[}\]])`", row)}
        for name, row in ROWS
    }
    assert found == {form: {form} for form in ("messages", "sharegpt", "alpaca", "pairs", "choices")}


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_can_be_typed(line: str) -> None:
    program, *words = shlex.split(line)
    assert program == "nanochat"
    command: click.Command | None = root
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(root), words.pop(0))
    assert command is not None
    command.make_context(line, words).close()
