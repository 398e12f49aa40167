"""The handbook page on conversations: its examples are of the forms it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

from nanochat.tasks.formats import FORMATS, convert

PAGE = (Path(__file__).parent.parent / "docs" / "conversations.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)[1:]


def test_examples_have_the_form_they_stand_beside() -> None:
    found = {
        name.lower(): {convert(json.loads(text)).format for text in re.findall(r"`([{\[].*?[}\]])`", row)}
        for name, row in ROWS
    }
    assert found == {form: {form} for form in FORMATS}
