"""What a stage does with the dials about kernels and number formats: choose, tell, record, refuse, resume."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from typing import Any

import pytest
import torch

from nanochat.checkpoints.layout import read_json
from nanochat.errors import Interrupted, UsageError
from nanochat.runtime.events import Event, Notice, StageStarted, StepDone


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, StepDone)]


def test_the_kernel_is_told_once_and_recorded(toy: Any) -> None:
    _, events = toy.train("base", num_steps=1)
    told = [event for event in events if isinstance(event, Notice) and event.message.startswith("attention: ")]
    assert [event.level for event in told] == ["info"]
    assert told[0].message.startswith(f"attention: sdpa (torch {torch.__version__}); not fa3: ")
    record = json.loads((toy.folder("base") / "config.json").read_text())["machine"]["attention"]
    assert (record["name"], record["version"]) == ("sdpa", f"torch {torch.__version__}")
    assert set(record["passed_over"]) == {"fa3", "flex"}
    started = next(event for event in events if isinstance(event, StageStarted))
    assert started.machine["attention"] == record


@pytest.mark.parametrize("name", ["fa3", "flex"])
def test_a_required_kernel_that_is_not_there(toy: Any, name: str) -> None:
    with pytest.raises(UsageError, match=f"attention by {name} was required"):
        toy.train("base", num_steps=1, require_attn=name)
    assert not (toy.folder("base") / "config.json").exists()


def test_a_required_kernel_that_is_there(toy: Any) -> None:
    toy.train("base", num_steps=1, require_attn="sdpa")
    assert read_json(toy.folder("base") / "config.json")["machine"]["attention"]["passed_over"] == {}


def test_fp8_is_refused_on_a_cpu(toy: Any) -> None:
    with pytest.raises(UsageError, match="fp8 needs") as caught:
        toy.train("base", num_steps=1, fp8=True)
    assert "--fp8" in caught.value.hint


def test_activation_checkpointing_changes_no_loss(toy: Any) -> None:
    with_it = losses(toy.train("base", activation_checkpointing=True)[1])
    without = losses(toy.train("base", tag="other")[1])
    assert with_it == pytest.approx(without, rel=1e-5)


def test_float16_learns_and_resumes_with_its_scaler(toy: Any) -> None:
    toy.context = replace(toy.context, dtype="float16")
    whole = losses(toy.train("base", tag="whole", num_steps=8)[1])
    assert whole[-1] < whole[0]
    assert all(map(math.isfinite, whole))

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        toy.train("base", stop, num_steps=8)
    state = max(toy.folder("base").glob("step_*/state.json"))
    scaler = json.loads(state.read_text())["scaler"]
    assert scaler == {"scale": 2.0**16, "good_steps": 3}
    rest = losses(toy.train("base", num_steps=8)[1])
    assert rest == pytest.approx(whole[3:], rel=1e-4)


def test_float32_has_no_scaler(trained: dict[str, Any]) -> None:
    for path in trained["toy"].folder("base").glob("step_*/state.json"):
        assert "scaler" not in json.loads(path.read_text())
