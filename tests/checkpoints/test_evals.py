"""Results beside a model: each says its step, and none takes another's place."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.checkpoints import evals
from nanochat.checkpoints.evals import keep_eval, mean_score, plain_evals, read_eval, read_evals


def kept(stage_dir: Path) -> dict[str, Any]:
    return {name: value["step"] for name, value in read_evals(stage_dir).items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`eval` of a stage with checkpoints at 10, 20 and 30."""
    for step in (10, 20, 30):
        (tmp_path / f"step_{step:06d}").mkdir()
    return tmp_path / "eval"


def test_the_latest_step_has_the_plain_name_whatever_was_scored_last(folder: Path) -> None:
    for step in (20, 10, 30, 10, 20):
        keep_eval(folder, "pocket", {"step": step, "tasks": {}, "from": step})
    assert kept(folder.parent) == {"pocket": 30, "pocket@10": 10, "pocket@20": 20}
    assert [read_eval(folder, "pocket", step).get("from") for step in (10, 20, 30, 40)] == [10, 20, 30, None]
    keep_eval(folder, "pocket", {"step": 30, "again": True})
    assert read_eval(folder, "pocket", 30) == {"step": 30, "again": True}


def test_what_is_of_an_earlier_training_gives_way(folder: Path) -> None:
    """Its checkpoint is gone, so a smaller step is the latest there is."""
    keep_eval(folder, "core", {"step": 900})
    keep_eval(folder, "core", {"step": 30})
    assert kept(folder.parent) == {"core": 30, "core@900": 900}


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_an_end_half_way_leaves_a_plain_file(folder: Path, writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any number of writes; the next result puts right what was left twice."""
    keep_eval(folder, "core", {"step": 10})
    whole, left = evals.atomic_write_json, iter(range(writes))

    def write(path: Path, value: Any) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        whole(path, value)

    monkeypatch.setattr(evals, "atomic_write_json", write)
    with contextlib.suppress(KeyboardInterrupt):
        keep_eval(folder, "core", {"step": 20})
    assert kept(folder.parent)["core"] == (20 if writes == 2 else 10)
    assert read_eval(folder, "core", 10) == {"step": 10}
    monkeypatch.undo()
    keep_eval(folder, "core", {"step": 10 if writes == 1 else 20})
    assert kept(folder.parent) == ({"core": 10} if writes == 1 else {"core": 20, "core@10": 10})


def task(accuracy: float, chance: float = 0.0) -> dict[str, float]:
    return {"accuracy": accuracy, "chance": chance}


def test_the_score_is_of_one_step_and_of_the_test_problems() -> None:
    named: dict[str, Any] = {
        "pocket": {"step": 20, "tasks": {"facts": task(0.5), "choice": task(0.25, 0.25)}},
        "chat": {"step": 10, "tasks": {"gsm8k": task(1.0)}},
        "pocket-val": {"step": 20, "tasks": {"facts": task(1.0)}},
        "pocket-5shot": {"step": 20, "tasks": {"facts": task(1.0)}},
        "pocket@10": {"step": 10, "tasks": {"facts": task(1.0)}},
        "core": {"step": 30, "core": {"tasks": {}}},
    }
    assert list(plain_evals(named)) == ["pocket"]
    score = mean_score(named)
    assert score is not None
    assert (score.value, score.step) == (0.25, 20)
    named["chat"]["step"] = 20
    both = mean_score(named)
    assert both is not None
    assert both.value == pytest.approx(0.5)
    assert mean_score(json.loads('{"pocket": {"tasks": 3}, "chat": {"tasks": {"x": 1}}}')) is None
