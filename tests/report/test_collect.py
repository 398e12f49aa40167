from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nanochat.errors import StorageError
from nanochat.report.collect import collect, newest_tag
from nanochat.report.markdown import to_markdown


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


def evaluated(folder: Path, name: str, step: int, **accuracies: float) -> None:
    tasks = {task: {"accuracy": accuracy, "n": 8, "chance": 0.0} for task, accuracy in accuracies.items()}
    lines(folder / "eval" / f"{name}.json", {"step": step, "tasks": tasks, "elapsed_s": 1.0})


def test_scores_of_other_splits_steps_and_ways_of_asking_stand_apart(tmp_path: Path) -> None:
    sft = tmp_path / "sft"
    evaluated(sft, "pocket", 20, facts=0.5)
    evaluated(sft, "chat", 20, gsm8k=0.25)
    evaluated(sft, "files", 10, mine=1.0)
    evaluated(sft, "pocket-val", 20, facts=1.0)
    evaluated(sft, "chat-5shot-8x", 20, gsm8k=1.0)
    evaluated(sft, "pocket@10", 10, facts=1.0)
    (stage,) = collect(tmp_path).stages
    assert {name: score.accuracy for name, score in stage.tasks.items()} == {"facts": 0.5, "gsm8k": 0.25}
    assert stage.score == 0.375
    assert stage.asked is not None
    assert (stage.asked.step, stage.asked.how) == (20, "")
    assert {(asked.how, asked.step, *asked.tasks) for asked in stage.others} == {
        ("", 10, "mine"),
        ("val", 20, "facts"),
        ("5shot, 8x", 20, "gsm8k"),
        ("", 10, "facts"),
    }
    assert stage.eval_s == 6.0


def test_a_base_model_that_was_asked_behind_examples_stands_beside_the_others(tmp_path: Path) -> None:
    evaluated(tmp_path / "base", "pocket-2shot", 30, facts=0.25)
    evaluated(tmp_path / "base", "pocket-val", 30, facts=1.0)
    evaluated(tmp_path / "sft", "pocket", 20, facts=0.5)
    base, _ = collect(tmp_path).stages
    assert base.score == 0.25
    text = to_markdown(collect(tmp_path))
    assert "| task | chance | base, step 30, 2shot | mid | sft, step 20 |" in text
    assert "| facts | 0% | 25.0%, n=8 | - | 50.0%, n=8 |" in text


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
    '{"splits": {"a": 1, "b": {"bpb": "x"}}}',
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
        "eval/pocket.json",
        "eval/pocket-5shot.json",
        "eval/bpb.json",
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
