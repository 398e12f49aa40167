"""What mid and sft have in common, and what tells them apart."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from doubles import tiny_tokenizer
from fleet import run_fleet, train

from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.errors import Interrupted, UsageError
from nanochat.runtime.events import Evaluated, Event, Notice, StageStarted, StepDone
from nanochat.stages.conversations import pocket_validation
from nanochat.stages.finetune import rendered_for


def test_mid_trains_everything_and_sft_the_answers() -> None:
    tokenizer = tiny_tokenizer()
    mid = rendered_for(tokenizer, pocket_validation(), train_all=True)
    sft = rendered_for(tokenizer, pocket_validation(), train_all=False)
    assert [ids for ids, _ in mid] == [ids for ids, _ in sft]
    assert all(all(mask) for _, mask in mid)
    assert all(0 < sum(mask) < len(mask) for _, mask in sft)


@pytest.mark.parametrize("stage", ["mid", "sft"])
def test_another_model_can_be_the_start(toy_before: Callable[[str], Any], stage: str) -> None:
    toy = toy_before("mid")
    result, _ = toy.train(stage, source="toy:base@4", tag="other", num_steps=1, eval_every=0)
    path = latest_valid(result.folder)
    assert path is not None
    base = load_checkpoint(toy.folder("base") / "step_000004")
    assert load_checkpoint(path).model_config == base.model_config
    assert not torch.equal(load_checkpoint(path).model_state["lm_head.weight"], base.model_state["lm_head.weight"])
    assert not (toy.base / "models" / "toy" / stage).exists()


def test_without_steps_the_length_follows_the_conversations(toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("mid")
    _, events = toy.train("mid", num_steps=0, conversations=40, eval_every=0, save_every=0)
    (started,) = [event for event in events if isinstance(event, StageStarted)]
    assert 1 <= started.total_steps <= 4


def notices(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice)]


def test_what_is_taken_over_is_told(trained: dict[str, Any]) -> None:
    """The toy's base was given the defaults; mid has rates of its own, which sft takes over."""
    mid, sft = (notices(trained[stage][1]) for stage in ("mid", "sft"))
    for told in (mid, sft):
        assert "batch: 1,024 tokens, in rows of 128; 6 steps" in told
    assert any(
        "matrices 0.02 (as set), embedding 0.2 (as set), output layer 0.004 (as set), scalars 0.5; all times 1" in line
        for line in mid
    )
    assert any(
        "matrices 0.02 (the model's), embedding 0.2 (the model's), output layer 0.004 (the model's)" in line
        and "all times 0.8" in line
        for line in sft
    )
    assert "momenta: those of toy:base@6" in mid
    assert "momenta: those of toy:mid@6" in sft
    assert any(line.startswith("conversations: ") and "0 left out" in line for line in sft)


def test_momenta_go_on(trained: dict[str, Any], toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("sft")
    toy.train("sft", num_steps=1)
    after = load_checkpoint(toy.folder("sft") / "step_000001", with_optimizer=True).optimizer_state
    before = load_checkpoint(toy.folder("mid") / "step_000006", with_optimizer=True).optimizer_state
    assert after is not None
    assert before is not None
    assert int(after["steps"]) == int(before["steps"]) + 1 == 13


@pytest.mark.parametrize("length", [32, 256])
def test_rows_of_another_length(toy_before: Callable[[str], Any], length: int) -> None:
    """Shorter ones leave the model's context as it is, longer ones become it."""
    toy = toy_before("sft")
    result, events = toy.train("sft", sequence_len=length, num_steps=2, eval_every=0, save_every=0)
    path = latest_valid(result.folder)
    assert path is not None
    assert load_checkpoint(path).model_config.sequence_len == max(128, length)
    assert f"batch: 1,024 tokens, in rows of {length}; 2 steps" in notices(events)
    steps = [event for event in events if isinstance(event, StepDone)]
    assert [event.tokens for event in steps] == [1024, 2048]
    assert all(math.isfinite(event.loss) for event in steps)
    assert result.summary["packed"] > 0
    assert (result.summary["cropped"] > 0) == (length == 32)


def test_epochs(toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("mid")
    short = {"conversations": 120, "num_steps": 0, "eval_every": 0, "save_every": 0}
    _, once = toy.train("mid", tag="once", source="toy:base", **short)
    result, thrice = toy.train("mid", tag="thrice", source="toy:base", epochs=3.0, **short)
    totals = [event.total_steps for event in (*once, *thrice) if isinstance(event, StageStarted)]
    assert totals[1] == pytest.approx(3 * totals[0], abs=2)
    assert result.summary["packed"] == pytest.approx(3 * 120, rel=0.2)


def test_tasks_are_scored_at_every_validation(trained: dict[str, Any], toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("sft")
    tasks = {"eval_tasks": "facts,choice", "eval_problems": 4, "eval_new_tokens": 8}
    result, events = toy.train("sft", **tasks)
    scores = [(e.step, e.name, e.n) for e in events if isinstance(e, Evaluated) and e.name != "val_bpb"]
    assert scores == [
        (step, name, n) for step in (3, 6) for name, n in (("val/facts", 4), ("val/choice", 4), ("val/score", 0))
    ]
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    assert losses == [event.loss for event in trained["sft"][1] if isinstance(event, StepDone)]
    samples = [json.loads(line) for line in (result.folder / "samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [3] * 4 + [6] * 4
    with pytest.raises(UsageError, match="no task 'nonsense'"):
        toy.train("sft", tag="other", source="toy:mid", eval_tasks="nonsense")


def test_a_stop_in_the_scoring_is_made_up_for(toy_before: Callable[[str], Any], monkeypatch: Any) -> None:
    from nanochat.stages import scoring

    toy = toy_before("sft")
    real = scoring.evaluate_task

    def interrupted(*args: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*args, **options)

    tasks = {"eval_tasks": "facts,choice", "eval_problems": 4, "eval_new_tokens": 8}
    monkeypatch.setattr(scoring, "evaluate_task", interrupted)
    with pytest.raises(Interrupted, match="stopped after step 3"):
        toy.train("sft", **tasks)
    monkeypatch.setattr(scoring, "evaluate_task", real)
    _, events = toy.train("sft", **tasks)
    assert [event.step for event in events if isinstance(event, Evaluated) and event.name == "val/facts"] == [3, 6]


def test_several_processes_score_together(toy_before: Callable[[str], Any]) -> None:
    """Of the questions three are right, two of them in the first one's part."""
    toy = toy_before("mid")
    right = [True, True, False, False, True]
    tasks = {"eval_tasks": f"{toy.questions(right, 8)},choice", "eval_problems": 5, "eval_new_tokens": 8}
    tasks["lr_scale"] = 1e-9  # lest it says something else than what the file has
    alone = toy.train("mid", tag="alone", source="toy:base", num_steps=3, **tasks)[1]
    together, _ = run_fleet(2, train, "mid", toy.base, {"num_steps": 3, **tasks})
    scores = [[(e.name, e.value, e.n) for e in events if isinstance(e, Evaluated)] for events in (alone, together)]
    assert scores[0] == scores[1]
    assert [name for name, _, _ in scores[0]] == ["val_bpb", "val/own.jsonl", "val/choice", "val/score"]
    assert scores[0][1][1:] == (3 / 5, 5)
