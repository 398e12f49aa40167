"""Lines of a log become the events they were; nothing that stands in a file can do harm."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runlogs import step

from nanochat.runtime import events
from nanochat.runtime.events import EventLog, StepDone
from nanochat.tui.watch.records import decode, to_event

EVENTS: list[events.Event] = [
    events.StageStarted(stage="base", tag="d4", total_steps=5, schedule={"evaluation": 2}, machine={"compile": True}),
    StepDone(
        stage="base",
        step=1,
        total_steps=5,
        loss=2.5,
        lr_multiplier=0.5,
        tokens_per_s=10.0,
        tokens=100,
        elapsed_s=1.5,
        mfu=0.3,
        memory_bytes=7,
    ),
    events.BetweenSteps(stage="base", step=1, work="evaluation", seconds=0.5),
    events.Evaluated(stage="base", step=1, name="choice", value=0.5, n=8, low=0.1, high=0.9, chance=0.25),
    events.CheckpointSaved(stage="base", step=1, path="x"),
    events.Sampled(stage="base", step=1, prompt="a", answer="b"),
    events.Notice(stage="base", level="info", message="m"),
    events.StageFinished(stage="base", step=5, elapsed_s=2.0, summary={"step": 5}),
]


def test_what_the_log_writes_comes_back(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    for event in EVENTS:
        log(event)
    log.close()
    found = decode((tmp_path / "events.jsonl").read_bytes().splitlines())
    assert [event for _, event in found] == EVENTS
    assert all(time is not None and time > 1e9 for time, _ in found)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"event": "Unheard", "step": 1}',
        b'{"event": ["StepDone"]}',
        b'{"event": "StepDone"}',
        b'{"event": "StepDone", "step": "7", "total_steps": 9, "loss": 1, "tokens": 1, "elapsed_s": 1}',
        b'{"event": "StepDone", "step": 1e300, "total_steps": 9, "loss": 1, "tokens": 1, "elapsed_s": 1}',
        b'{"event": "StepDone", "step": NaN, "total_steps": 9, "loss": 1, "tokens": 1, "elapsed_s": 1}',
    ],
)
def test_what_is_no_event_is_passed_over(line: bytes) -> None:
    assert decode([line, json.dumps(step(3, 9)).encode()])[0][1] == to_event(step(3, 9))


def test_null_is_a_loss_that_was_no_number() -> None:
    event = to_event(step(3, 9) | {"loss": None, "mfu": None})
    assert isinstance(event, StepDone)
    assert math.isnan(event.loss)
    assert event.mfu is None


def test_an_old_log_without_the_newer_fields() -> None:
    record = {"event": "StepDone", "step": 1, "total_steps": 2, "loss": 3, "tokens": 4, "elapsed_s": 5}
    event = to_event(record)
    assert isinstance(event, StepDone)
    assert (event.step, event.loss, event.memory_bytes) == (1, 3.0, 0)
    assert math.isnan(event.tokens_per_s)


def test_samples_do_not_say_what_they_are() -> None:
    ((_, event),) = decode([b'{"step": 4, "prompt": "a", "answer": "b"}'], "Sampled")
    assert event == events.Sampled(stage="", step=4, prompt="a", answer="b")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
FIELDS = (
    "step",
    "total_steps",
    "loss",
    "tokens",
    "elapsed_s",
    "time",
    "schedule",
    "machine",
    "name",
    "value",
    "message",
)


@given(kind=st.sampled_from([type(event).__name__ for event in EVENTS]), values=st.data())
def test_any_values_at_all(kind: str, values: Any) -> None:
    record = {"event": kind, **{name: values.draw(ANYTHING) for name in FIELDS}}
    decode([json.dumps(record).encode()])
