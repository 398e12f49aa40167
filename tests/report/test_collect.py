from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nanochat.errors import StorageError
from nanochat.report.collect import collect, newest_tag


def lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def step(number: int, loss: float) -> dict[str, Any]:
    return {
        "event": "StepDone",
        "step": number,
        "loss": loss,
        "tokens": number * 10,
        "elapsed_s": number * 2.0,
    }


def started(resumed_from: int | None) -> dict[str, Any]:
    return {"event": "StageStarted", "total_steps": 5, "resumed_from": resumed_from}


def test_steps_that_a_resume_threw_away_do_not_count(tmp_path: Path) -> None:
    events = tmp_path / "base" / "events.jsonl"
    lines(events, started(None), step(1, 9.0), step(2, 8.0), step(3, 7.0), started(1), step(2, 6.0))
    (stage,) = collect(tmp_path).stages
    assert stage.losses == (9.0, 6.0)
    assert (stage.step, stage.total_steps, stage.tokens, stage.train_s) == (2, 5, 20, 4.0)
    assert not stage.finished
    lines(events, step(1, 9.0), started(None), step(1, 3.0))
    assert collect(tmp_path).stages[0].losses == (3.0,)


def test_scores_come_from_events_when_there_is_no_file(tmp_path: Path) -> None:
    lines(
        tmp_path / "sft" / "events.jsonl",
        {"event": "Evaluated", "name": "val_bpb", "value": 1.5},
        {
            "event": "Evaluated",
            "name": "choice",
            "value": 0.25,
            "n": 8,
            "low": 0.1,
            "high": 0.5,
            "chance": 0.25,
        },
        {"event": "Evaluated", "name": "facts", "value": 1.0, "n": 8},
    )
    (stage,) = collect(tmp_path).stages
    assert list(stage.tasks) == ["choice", "facts"]
    assert stage.score == 0.5
    assert stage.val_bpb == (1.5,)


def test_answers_come_by_prompt_and_step_and_the_newest_of_a_step_counts(tmp_path: Path) -> None:
    told = [(1, "Hi", "x"), (1, "Who?", "y"), (2, "Hi", "Hello"), (2, "Who?", "z"), (2, "Hi", "Hello!")]
    records = [{"step": n, "prompt": prompt, "answer": answer} for n, prompt, answer in told]
    lines(tmp_path / "sft" / "samples.jsonl", *records)
    samples = collect(tmp_path).stages[0].samples
    assert [(s.prompt, s.step, s.answer) for s in samples] == [
        ("Hi", 1, "x"),
        ("Hi", 2, "Hello!"),
        ("Who?", 1, "y"),
        ("Who?", 2, "z"),
    ]


def test_what_is_scored_during_training_is_no_score_of_the_table(tmp_path: Path) -> None:
    told = [
        (3, "val_bpb", 0.5, 0),
        (3, "val/facts", 0.25, 8),
        (3, "val_loss", 0.69, 0),
        (6, "val/facts", 0.5, 8),
        (6, "val/facts", 0.75, 8),
        (6, "facts", 1.0, 100),
    ]
    events = [{"event": "Evaluated", "step": s, "name": name, "value": v, "n": n} for s, name, v, n in told]
    lines(tmp_path / "sft" / "events.jsonl", *events)
    (stage,) = collect(tmp_path).stages
    assert list(stage.tasks) == ["facts"]
    assert [(s.step, s.name, s.value) for s in stage.scored] == [
        (3, "facts", 0.25),
        (3, "val_loss", 0.69),
        (6, "facts", 0.75),
    ]


ODD = [
    "",
    "{",
    "[]",
    "3",
    '{"tasks": 3, "step": "x", "model": []}',
    '{"tasks": {"a": 1, "b": {"accuracy": "x"}}}',
]
ODD += [
    '{"event": "StepDone", "loss": null}',
    '{"event": "Evaluated"}',
    '{"event": 3, "time": "x"}',
    "\xff\xfe",
]


@pytest.mark.parametrize("text", ODD)
def test_odd_files_are_never_fatal(tmp_path: Path, text: str) -> None:
    folder = tmp_path / "base"
    (folder / "eval").mkdir(parents=True)
    for name in (
        "config.json",
        "events.jsonl",
        "samples.jsonl",
        "finished.json",
        "eval/a.json",
        "../speedrun.json",
    ):
        (folder / name).write_bytes(text.encode("latin-1"))
    (stage,) = collect(tmp_path).stages
    assert (stage.losses, stage.tasks, stage.score) == ((), {}, None)


def test_newest_tag(tmp_path: Path) -> None:
    assert newest_tag(tmp_path / "nowhere") is None
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        newest_tag(tmp_path / "file")
    (tmp_path / "file").unlink()
    for age, tag in enumerate(("a", "c", "b")):
        lines(tmp_path / tag / "base" / "events.jsonl", step(1, 1.0))
        os.utime(tmp_path / tag / "base" / "events.jsonl", (1000 + age, 1000 + age))
    assert newest_tag(tmp_path) == "b"


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "base" / "finished.json").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"finished\.json"):
        collect(tmp_path)
