"""sft with adapters: checkpoints as any other, and a run that goes on as exactly."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fleet import run_fleet, train

from nanochat.checkpoints.store import Checkpoint, latest_valid, load_checkpoint
from nanochat.errors import Interrupted, UsageError
from nanochat.model.gpt import GPT
from nanochat.model.lora import add_adapters, load_adapters
from nanochat.runtime.events import Evaluated, Event, Notice, StageStarted, StepDone

IDS = torch.arange(60).view(2, 30) * 7 % 500


def losses(events: list[Event]) -> dict[int, float]:
    return {event.step: event.loss for event in events if isinstance(event, StepDone)}


def newest(folder: Path) -> Checkpoint:
    path = latest_valid(folder)
    assert path is not None
    return load_checkpoint(path, with_optimizer=True)


def check_same(one: Path, other: Path) -> None:
    a, b = newest(one), newest(other)
    for left, right in ((a.model_state, b.model_state), (a.optimizer_state or {}, b.optimizer_state or {})):
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.fixture(scope="module")
def done(trained: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Event]]:
    """A run with adapters of rank 4: the toy, and its events. Not to be changed."""
    base = tmp_path_factory.mktemp("adapted") / "base"
    shutil.copytree(trained["toy"].base, base)
    shutil.rmtree(base / "models" / "toy" / "sft")
    toy = type(trained["toy"])(base)
    return toy, toy.train("sft", lora_rank=4)[1]


def test_it_learns_and_says_what_it_trains(done: tuple[Any, list[Event]], trained: dict[str, Any]) -> None:
    _, events = done
    assert losses(events)[1] == losses(trained["sft"][1])[1]  # of the same weights
    validations = [event.value for event in events if isinstance(event, Evaluated)]
    assert validations[1] < validations[0]
    told = [event.message for event in events if isinstance(event, Notice)]
    assert any(line.startswith("adapters of rank 4: ") for line in told)
    assert not any(line.startswith("momenta") for line in told)


def test_what_is_saved_is_an_ordinary_model(done: tuple[Any, list[Event]], trained: dict[str, Any]) -> None:
    mid, sft = newest(trained["toy"].folder("mid")), newest(done[0].folder("sft"))
    assert sft.model_state.keys() == mid.model_state.keys()
    changed = {name for name in sft.model_state if not torch.equal(sft.model_state[name], mid.model_state[name])}
    assert changed == {name for name in mid.model_state if ".h." in name and "gate" not in name}
    merged, adapted = GPT(sft.model_config), GPT(sft.model_config)
    for model in (merged, adapted):
        model.load_state_dict(sft.model_state)
    add_adapters(adapted, 4)
    load_adapters(adapted, sft.optimizer_state or {})
    torch.testing.assert_close(adapted(IDS), merged(IDS), rtol=1e-4, atol=1e-4)


def test_stopped_and_resumed_is_as_if_never_stopped(
    done: tuple[Any, list[Event]], toy_before: Callable[[str], Any]
) -> None:
    toy = toy_before("sft")

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted):
        toy.train("sft", stop, lora_rank=4)
    shutil.rmtree(toy.folder("mid"))
    _, events = toy.train("sft", lora_rank=4)
    assert [event.resumed_from for event in events if isinstance(event, StageStarted)] == [3]
    assert losses(events) == {step: loss for step, loss in losses(done[1]).items() if step > 3}
    check_same(toy.folder("sft"), done[0].folder("sft"))


def test_two_processes_do_what_one_does(done: tuple[Any, list[Event]], toy_before: Callable[[str], Any]) -> None:
    toy = toy_before("sft")
    first, _ = run_fleet(2, train, "sft", toy.base, {"lora_rank": 4})
    assert losses(first) == losses(done[1])
    check_same(toy.folder("sft"), done[0].folder("sft"))


def test_another_run_can_start_from_it_without_its_momenta(done: tuple[Any, list[Event]], tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(done[0].base, base)
    toy = type(done[0])(base)
    result, events = toy.train("sft", tag="next", source="toy:sft", num_steps=1)
    assert any("momenta: none" in event.message for event in events if isinstance(event, Notice))
    assert not [name for name in newest(result.folder).optimizer_state or {} if "lora" in name]


def test_what_cannot_be(toy_before: Callable[[str], Any]) -> None:
    with pytest.raises(UsageError, match=r"lora_rank \(64\) must be below the width of the model \(64\)"):
        toy_before("sft").train("sft", lora_rank=64)
