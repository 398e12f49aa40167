"""Scores of a trained stage, kept beside the model."""

from __future__ import annotations

import dataclasses
import json
import shutil
from typing import Any

import pytest

from nanochat.config.evaluate import ChatEvalConfig
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.events import Evaluated, Event, StageProgress, read_events
from nanochat.stages.evaluate import choose_tasks, evaluate_chat, is_evaluated

SMALL = ChatEvalConfig(tasks="facts,choice", max_problems=6, batch_size=4, max_new_tokens=4, device="cpu", threads=1)


@pytest.fixture
def own(trained: dict[str, Any], toy: Any) -> Any:
    shutil.copytree(trained["toy"].base / "models", toy.base / "models")
    return toy


def test_scores_are_told_logged_and_kept(own: Any) -> None:
    events: list[Event] = []
    before = len(read_events(own.folder("sft") / "events.jsonl"))
    scores = evaluate_chat("toy:sft", SMALL, own.context, events.append)
    assert [(score.name, score.n, score.chance) for score in scores] == [("facts", 6, 1 / 6), ("choice", 6, 0.25)]
    told = [event for event in events if isinstance(event, Evaluated)]
    assert [(event.name, event.stage, event.step, event.n) for event in told] == [
        ("facts", "sft", 6, 6),
        ("choice", "sft", 6, 6),
    ]
    assert all(event.low <= event.value <= event.high for event in told)
    assert any(isinstance(event, StageProgress) for event in events)
    logged = read_events(own.folder("sft") / "events.jsonl")[before:]
    assert [record["event"] for record in logged] == ["Evaluated", "Evaluated"]
    kept = json.loads((own.folder("sft") / "eval" / "pocket.json").read_text())
    assert kept["step"] == 6
    assert kept["tasks"] == {score.name: score.to_dict() for score in scores}


def test_scores_of_other_tasks_are_kept(own: Any) -> None:
    evaluate_chat("toy:mid", SMALL, own.context, lambda event: None)
    more = ChatEvalConfig(tasks="identity", max_problems=6, max_new_tokens=2, device="cpu", threads=1)
    evaluate_chat("toy:mid", more, own.context, lambda event: None)
    assert is_evaluated(own.context, "toy", "mid", 6, ["facts", "choice", "identity"], 6)
    assert not is_evaluated(own.context, "toy", "mid", 6, ["facts", "spelling"], 6)
    assert not is_evaluated(own.context, "toy", "mid", 4, ["facts"], 6)
    assert not is_evaluated(own.context, "toy", "mid", 6, ["facts"], 7)
    assert not is_evaluated(own.context, "toy", "sft", 6, ["facts"], 6)


def test_the_validation_split_is_scored_apart(own: Any) -> None:
    before = len(read_events(own.folder("sft") / "events.jsonl"))
    evaluate_chat("toy:sft", dataclasses.replace(SMALL, split="val"), own.context, lambda event: None)
    folder = own.folder("sft")
    assert len(read_events(folder / "events.jsonl")) == before
    assert json.loads((folder / "eval" / "pocket-val.json").read_text())["tasks"].keys() == {"facts", "choice"}
    assert not is_evaluated(own.context, "toy", "sft", 6, ["facts"], 6)


def test_batches_do_not_change_the_scores(own: Any) -> None:
    one = evaluate_chat("toy", SMALL, own.context, lambda event: None)
    single = ChatEvalConfig(
        tasks="facts,choice", max_problems=6, batch_size=1, max_new_tokens=4, device="cpu", threads=1
    )
    assert evaluate_chat("toy", single, own.context, lambda event: None) == one


def test_tasks_by_name() -> None:
    assert list(choose_tasks("choice, facts", 2)) == ["choice", "facts"]
    assert "arithmetic" in choose_tasks("all", 2)
    for wrong in ("facts,fcats", "", ","):
        with pytest.raises(UsageError, match="no task") as caught:
            choose_tasks(wrong, 2)
        assert "facts" in caught.value.hint


def test_no_such_model(own: Any) -> None:
    with pytest.raises(MissingError):
        evaluate_chat("other", SMALL, own.context, lambda event: None)
