"""CORE in the report, whatever the file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.report.collect import collect
from nanochat.report.core import core_table
from nanochat.report.markdown import to_markdown

TASK = {"accuracy": 0.5, "n": 24, "low": 0.3, "high": 0.7, "chance": 0.25, "centred": 1 / 3}


def record(**tasks: Any) -> dict[str, Any]:
    return {
        "step": 2000,
        "core": {"value": 0.3333, "low": 0.2, "high": 0.4, "tasks": tasks},
        "published": {"GPT-2 XL": {"copa": 0.34, "CORE": 0.256525}},
    }


def test_a_row_for_each_task_and_one_for_core() -> None:
    header, rows = core_table({"base": record(copa=TASK, piqa={**TASK, "n": 2}), "mid": record(copa=TASK)})
    assert header == ["task", "chance", "base, step 2,000", "mid, step 2,000", "GPT-2 XL"]
    assert rows == [
        ["copa", "25%", "0.333, n=24", "0.333, n=24", "0.340"],
        ["piqa", "25%", "0.333, n=2", "-", "-"],
        ["CORE", "", "0.3333 (0.200 to 0.400)", "0.3333 (0.200 to 0.400)", "0.2565"],
    ]


@pytest.mark.parametrize("kept", [{}, {"core": 1}, {"core": {"tasks": []}}, {"core": {"tasks": {}}}, {"tasks": {}}])
def test_nothing_where_nothing_was_measured(kept: dict[str, Any], tmp_path: Path) -> None:
    assert core_table({"base": kept})[1] == []
    path = tmp_path / "d4" / "base" / "eval" / "core.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(kept))
    assert "## CORE" not in to_markdown(collect(tmp_path / "d4"))


def test_foreign_words_and_numbers_do_no_harm(tmp_path: Path) -> None:
    odd = {
        "core": {"value": "x", "low": None, "tasks": {"<b>|x": TASK, "y": 3, "z": {"centred": None}}},
        "published": 7,
    }
    path = tmp_path / "d4" / "base" / "eval" / "core.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(odd))
    text = to_markdown(collect(tmp_path / "d4"))
    assert r"| \<b\>\|x | 25% | 0.333, n=24 |" in text
    assert "| y | - | - |" in text


def test_figures_of_other_items_say_so(tmp_path: Path) -> None:
    folder = tmp_path / "d4" / "base"
    (folder / "eval").mkdir(parents=True)
    (folder / "eval" / "core.json").write_text(json.dumps(record(copa=TASK)))
    points = [(1000, 0.1, 500), (2000, 0.2, 500), (3000, 0.25, 12345)]
    events = [{"event": "Evaluated", "name": "core", "step": step, "value": value, "n": n} for step, value, n in points]
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    text = to_markdown(collect(tmp_path / "d4"))
    assert "base, by step: 0.1000 at 1,000, 0.2000 at 2,000, 0.2500 at 3,000 (n=12,345)." in text
