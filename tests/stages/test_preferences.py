"""sft on pairs of answers: it learns the preference, in any batch and any number of processes, and goes on exactly."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fleet import run_fleet, train

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.errors import ConversationError, Interrupted, MissingError, UsageError
from nanochat.runtime.events import Evaluated, Event, Notice, StageStarted, StepDone

PAIRS = 60
DPO: dict[str, Any] = {"num_steps": 6, "save_every": 2, "eval_every": 3, "device_batch_size": 2}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions with a long and a short answer: the short one is better."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    lines = [{"prompt": f"Say {n}.", "chosen": "Yes.", "rejected": f"No, not {n}."} for n in range(PAIRS)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def losses(events: list[Event]) -> dict[int, float]:
    return {event.step: event.loss for event in events if isinstance(event, StepDone)}


def check_same_model(one: Path, other: Path) -> None:
    """Weights, momenta and the place in the data are equal to the last bit."""
    paths = [latest_valid(folder) for folder in (one, other)]
    a, b = (load_checkpoint(path, with_optimizer=True) for path in paths if path)
    assert (a.step, a.state["loader"]) == (b.step, b.state["loader"])
    for left, right in ((a.model_state, b.model_state), (a.optimizer_state or {}, b.optimizer_state or {})):
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []


def figures(events: list[Event], name: str) -> dict[int, float]:
    return {event.step: event.value for event in events if isinstance(event, Evaluated) and event.name == name}


@pytest.fixture(scope="module")
def done(
    trained: dict[str, Any], pairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, list[Event]]]:
    """A run that nothing came between: the toy, and its events. Not to be changed."""
    base = tmp_path_factory.mktemp("preferred") / "base"
    shutil.copytree(trained["toy"].base, base)
    shutil.rmtree(base / "models" / "toy" / "sft")
    toy = type(trained["toy"])(base)
    _, events = toy.train("sft", preferences=str(pairs), **DPO)
    yield toy, events


def test_the_preference_is_learnt_and_told(done: tuple[Any, list[Event]]) -> None:
    toy, events = done
    assert losses(events)[6] < losses(events)[1]
    assert figures(events, "val_loss")[6] < figures(events, "val_loss")[3] < math.log(2)
    assert figures(events, "reward_accuracy")[6] == 1.0
    assert figures(events, "reward_margin")[6] > figures(events, "train_reward_margin")[3] > 0
    assert not figures(events, "val_bpb")
    summary = read_json(toy.folder("sft") / "finished.json") or {}
    assert summary["val_loss"] == figures(events, "val_loss")[6]
    assert "val_bpb" not in summary
    record = read_json(toy.folder("sft") / "config.json") or {}
    assert (record["data"]["pairs"], record["data"]["validation"]) == (PAIRS - 3, 3)
    assert record["data"]["start"] == "toy:mid@6"
    (started,) = [event for event in events if isinstance(event, StageStarted)]
    assert started.total_steps == 6
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any("57 pairs to train on, 3 held out" in line for line in told)
    assert any("batch: 4 pairs, each in two rows of 32 tokens" in line for line in told)


def test_the_better_answers_own_loss_keeps_them_likely(
    done: tuple[Any, list[Event]], toy_before: Callable[[str], Any], pairs: Path
) -> None:
    """Without it the loss is the preference's alone, which making both answers unlikelier lowers too."""
    _, alone = toy_before("sft").train("sft", preferences=str(pairs), chosen_weight=0.0, **DPO)
    assert losses(alone)[1] == pytest.approx(math.log(2), abs=1e-5)  # nothing is preferred yet
    assert losses(alone)[6] < 0.6
    with_it, without = (figures(events, "chosen_loss") for events in (done[1], alone))
    assert with_it[6] < with_it[3] < without[3]
    assert losses(done[1])[1] - math.log(2) == pytest.approx(with_it[3], rel=0.3)


def test_any_device_batch_gives_the_same_update(
    done: tuple[Any, list[Event]], toy_before: Callable[[str], Any], pairs: Path
) -> None:
    _, events = toy_before("sft").train("sft", preferences=str(pairs), **{**DPO, "device_batch_size": 4})
    for step, loss in losses(events).items():
        assert loss == pytest.approx(losses(done[1])[step], abs=1e-4)


def test_two_processes_do_what_one_does_in_two_micro_steps(
    done: tuple[Any, list[Event]], toy_before: Callable[[str], Any], pairs: Path
) -> None:
    toy = toy_before("sft")
    first, second = run_fleet(2, train, "sft", toy.base, {"preferences": str(pairs), **DPO})
    assert second == []
    assert losses(first) == losses(done[1])
    assert figures(first, "val_loss") == figures(done[1], "val_loss")
    check_same_model(toy.folder("sft"), done[0].folder("sft"))


@pytest.mark.parametrize("lost", [False, True])
def test_stopped_and_resumed_is_as_if_never_stopped(
    done: tuple[Any, list[Event]], toy_before: Callable[[str], Any], pairs: Path, lost: bool
) -> None:
    toy = toy_before("sft")

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        toy.train("sft", stop, preferences=str(pairs), **DPO)
    if lost:
        (toy.folder("sft") / "reference.json").unlink()
        # the newest of mid is another model now: the run has begun with mid@6
        shutil.copytree(toy.folder("mid") / "step_000004", toy.folder("mid") / "step_000008")
    else:
        shutil.rmtree(toy.folder("mid"))  # the starting model is needed no more
    _, events = toy.train("sft", preferences=str(pairs), **DPO)
    assert [event.resumed_from for event in events if isinstance(event, StageStarted)] == [3]
    assert losses(events) == {step: loss for step, loss in losses(done[1]).items() if step > 3}
    check_same_model(toy.folder("sft"), done[0].folder("sft"))


def test_with_adapters_too(toy_before: Callable[[str], Any], pairs: Path) -> None:
    _, events = toy_before("sft").train("sft", preferences=str(pairs), lora_rank=4, chosen_weight=0.0, **DPO)
    assert losses(events)[1] == pytest.approx(math.log(2), abs=1e-5)
    assert losses(events)[6] < math.log(2)


def test_what_cannot_be_learnt(toy_before: Callable[[str], Any], pairs: Path, tmp_path: Path) -> None:
    toy = toy_before("sft")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "Hi", "chosen": "same", "rejected": "same"}\n')
    with pytest.raises(ConversationError, match="line 1: chosen and rejected are the same"):
        toy.train("sft", preferences=str(bad), **DPO)
    with pytest.raises(MissingError, match=r"nowhere\.jsonl"):
        toy.train("sft", preferences=str(tmp_path / "nowhere.jsonl"), **DPO)
    with pytest.raises(UsageError, match=r"--data mine\.jsonl and --preferences exclude each other"):
        toy.train("sft", preferences=str(pairs), data="mine.jsonl", **DPO)
    with pytest.raises(UsageError, match=r"--mixture mix\.toml and --preferences exclude each other"):
        toy.config("sft", preferences=str(pairs), mixture="mix.toml")
    with pytest.raises(UsageError, match="val_data names several files"):
        toy.train("sft", preferences=str(pairs), val_data="a.jsonl,b.jsonl", **DPO)
