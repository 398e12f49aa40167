"""How far, how fast, how long still."""

import math

import pytest

from nanochat.console.tracker import LOSSES_KEPT, Pace, StageTracker
from nanochat.runtime.events import StageProgress, StageStarted, StepDone


def step(number: int, total: int = 100, **more: float) -> StepDone:
    values = {
        "loss": 2.0,
        "lr_multiplier": 1.0,
        "tokens_per_s": 50.0,
        "tokens": number * 100,
        "elapsed_s": number,
    }
    return StepDone(stage="base", step=number, total_steps=total, **(values | more))


def start(**more: object) -> StageTracker:
    return StageTracker.start(StageStarted(stage="base", tag="t", total_steps=100, **more), 0.0)


def test_the_first_step_which_compiles_does_not_count() -> None:
    stage = start()
    stage.on_step(step(1), 60.0)
    assert stage.left(60.0) is None
    stage.on_step(step(2), 61.0)
    stage.on_step(step(3), 62.0)
    assert stage.left(62.0) == pytest.approx(97, rel=0.01)


def test_time_left_counts_down_by_one_step_and_then_waits() -> None:
    stage = start()
    for number in range(1, 12):
        stage.on_step(step(number), number * 2.0)
    left = stage.left(22.0)
    assert left == pytest.approx(89 * 2, rel=0.01)
    assert stage.left(23.0) == pytest.approx(left - 1)
    assert stage.left(300.0) == pytest.approx(left - 2, rel=0.01)
    assert Pace().left(10, 0.0) is None


def test_time_left_is_smooth_and_follows_slowly() -> None:
    stage = start()
    seconds = 0.0
    for number in range(1, 50):
        seconds += 5.0 if number % 10 == 0 else 1.0  # validations
        stage.on_step(step(number), seconds)
    before = stage.left(seconds)
    stage.on_step(step(50), seconds + 1)
    assert stage.left(seconds + 1) == pytest.approx(before - 1.4, abs=1.0)


def test_a_resumed_stage_is_measured_on_its_own_steps() -> None:
    stage = start(resumed_from=80)
    assert stage.done == 80
    stage.on_step(step(81), 30.0)
    stage.on_step(step(82), 31.0)
    assert stage.left(31.0) == pytest.approx(18, rel=0.01)
    assert stage.percent == 82


def test_tokens_per_second_leaves_the_first_step_out() -> None:
    stage = start()
    assert stage.tokens_per_s is None
    stage.on_step(step(1, elapsed_s=60, tokens_per_s=2.0), 60.0)
    assert stage.tokens_per_s == 2.0
    stage.on_step(step(2, elapsed_s=62), 62.0)
    stage.on_step(step(3, elapsed_s=64), 64.0)
    assert stage.tokens_per_s == 50


def test_losses_are_bounded_and_never_changed_in_place() -> None:
    stage = start()
    stage.on_step(step(1), 0.0)
    before = stage.losses
    for number in range(2, 100):
        stage.on_step(step(number, loss=float(number)), 0.0)
    assert before == (2.0,)
    assert len(stage.losses) == LOSSES_KEPT
    assert stage.left(0.0) is None  # no time passed: no pace


def test_a_new_unit_or_a_fresh_beginning_is_measured_anew() -> None:
    stage = StageTracker.start(StageStarted(stage="tokenizer", tag="t", total_steps=4096), 0.0)
    assert stage.percent is None
    stage.on_progress(StageProgress(stage="tokenizer", done=8e6, total=8e6, unit="characters"), 4.0)
    assert stage.pace.rate == pytest.approx(2e6)
    stage.on_progress(StageProgress(stage="tokenizer", done=100, total=1000, unit="merges"), 5.0)
    assert stage.pace.rate == pytest.approx(100)
    assert stage.left(5.0) == pytest.approx(9, rel=0.01)
    stage.on_progress(StageProgress(stage="tokenizer", done=10, total=1000, unit="merges"), 6.0)
    assert stage.pace.rate == pytest.approx(10)


def test_percent_is_100_only_at_the_end() -> None:
    stage = start()
    stage.done, stage.total = 999, 1000
    assert stage.percent == 99
    stage.done = 2000
    assert stage.percent == 100
    assert stage.fraction == 1.0
    assert math.isclose(stage.elapsed(3.0), 3.0)
