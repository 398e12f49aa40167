"""`nanochat eval chat` and `data tasks`: what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.cli import main
from nanochat.evaluation.chat import TaskScore
from nanochat.evaluation.chatcore import chatcore
from nanochat.stages import evaluate
from nanochat.tasks.names import CHATCORE

SCORES = [
    TaskScore(name="arc_easy", correct=50, n=100, chance=0.25),
    TaskScore(name="arc_challenge", correct=25, n=100, chance=0.25),
    TaskScore(
        name="mmlu",
        correct=3,
        n=5,
        chance=0.25,
        groups={"anatomy": (0.0, 1), "college_physics": (2.0, 2), "virology": (1.0, 2)},
    ),
    TaskScore(
        name="gsm8k",
        correct=10,
        n=10,
        chance=0.0,
        samples=4,
        pass_at={1: (0.25, 0.1, 0.5), 2: (0.4, 0.2, 0.6), 4: (0.5, 0.3, 0.7)},
    ),
    TaskScore(name="humaneval", correct=0, n=10, chance=0.0),
]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> None:
    core = chatcore({score.name: score for score in SCORES}, CHATCORE)
    found = evaluate.ChatScores(tasks=tuple(SCORES), core=core)
    monkeypatch.setattr(evaluate, "evaluate_chat", lambda *args: found)


def test_the_table(scored: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["eval", "chat", "--device", "cpu", "--base-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "task          accuracy   95% interval       n  chance"
    assert lines[1] == "arc_easy         50.0%   40.4% -  59.6%   100     25%"
    at = next(number for number, line in enumerate(lines) if line.startswith("mmlu"))
    assert lines[at + 1 : at + 3] == [
        "  college physics 100.0% of   2   anatomy           0.0% of   1",
        "  virology         50.0% of   2",
    ]
    assert [line.split()[0] for line in lines[at + 3 :]] == ["gsm8k", "pass@2", "pass@4", "humaneval", "ChatCORE"]
    assert lines[at + 4] == "  pass@2         40.0%   20.0% -  60.0%"
    # centred: 1/3, 0, 7/15, 1/4, 0
    assert lines[-1].split()[1] == "0.210"


def test_values_for_programs(scored: None, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["eval", "chat", "--json", "--device", "cpu", "--base-dir", str(tmp_path)]) == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert values["mmlu"]["groups"]["college_physics"] == {"accuracy": 1.0, "correct": 2.0, "n": 2}
    assert values["gsm8k"]["pass_at"]["4"] == {"value": 0.5, "low": 0.3, "high": 0.7}
    assert values["ChatCORE"]["value"] == pytest.approx(0.21)
    assert values["ChatCORE"]["tasks"] == ["arc_easy", "arc_challenge", "mmlu", "gsm8k", "humaneval"]


def test_task_data_that_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = tmp_path / "cache" / "tasks" / "words" / "words_alpha.txt"
    words.parent.mkdir(parents=True)
    words.write_text("word\n")
    assert main(["data", "tasks", "--base-dir", str(tmp_path)]) == 0
    lines = {line.split()[0]: line.split()[2] for line in capsys.readouterr().out.splitlines()}
    assert (lines["spellingbee"], lines["gsm8k"], lines["TASK"]) == ("words", "-", "THERE")
    assert main(["data", "tasks", "--json", "--base-dir", str(tmp_path)]) == 0
    found = {task["name"]: task["splits"] for task in json.loads(capsys.readouterr().out)}
    assert found["simplespelling"] == {"words": str(words)}
    assert found["gsm8k"] == {"train": None, "test": None}


def test_missing_data_ends_with_the_command_that_fetches_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["eval", "chat", "--tasks", "gsm8k", "--device", "cpu", "--base-dir", str(tmp_path)]) == 3
    assert "hint: nanochat data tasks gsm8k" in capsys.readouterr().err
    assert main(["data", "tasks", "facts", "--base-dir", str(tmp_path)]) == 2
