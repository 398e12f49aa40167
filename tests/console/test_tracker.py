"""How far, how fast, how long still."""

import math
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.console.tracker import CURVE_POINTS, Curve, Pace, SideWork, StageTracker
from nanochat.runtime.events import BetweenSteps, StageProgress, StageStarted, StepDone


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


def side(number: int, work: str, seconds: float) -> BetweenSteps:
    return BetweenSteps(stage="base", step=number, work=work, seconds=seconds)


class TestScheduledWork:
    """Steps take 1 s, an evaluation every 10 of them 5 s, a checkpoint every 30 2 s, both after the last step too."""

    EVERY: ClassVar = {"evaluation": 10, "checkpoint": 30}
    COST: ClassVar = {"evaluation": 5.0, "checkpoint": 2.0}

    def run(self, to: int, since: int = 0, total: int = 100) -> Iterator[tuple[StageTracker, float, str]]:
        """(tracker, clock, what just happened) up to the step `to`."""
        event = StageStarted(stage="base", tag="t", total_steps=total, schedule=self.EVERY, resumed_from=since or None)
        stage, clock = StageTracker.start(event, 0.0), 0.0
        for number in range(since + 1, to + 1):
            clock += 1.0
            stage.on_step(step(number, total), clock)
            yield stage, clock, f"step {number}"
            for work, every in self.EVERY.items():
                if number % every == 0 or number == total:
                    clock += self.COST[work]
                    stage.on_side_work(side(number, work, self.COST[work]))
                    yield stage, clock, f"{work} {number}"

    def truth(self, what: str, total: int = 100) -> float:
        """Seconds to the end after `what`."""
        work, number = what.split()
        step = int(number)
        left = float(total - step)
        for kind, every in self.EVERY.items():
            done_now = kind == work or (work == "checkpoint" and kind == "evaluation")
            for at in range(1, total + 1):
                if (at % every == 0 or at == total) and (at > step or (at == step and not done_now)):
                    left += self.COST[kind]
        return left

    def test_it_is_exact_once_each_kind_was_seen(self) -> None:
        for stage, clock, what in self.run(100):
            if int(what.split()[1]) > 30:
                assert stage.left(clock) == pytest.approx(self.truth(what), abs=0.01), what

    def test_after_the_first_evaluation_all_the_others_count(self) -> None:
        *_, (stage, clock, what) = self.run(10)
        assert what == "evaluation 10"
        assert stage.left(clock) == pytest.approx(90 + 9 * 5, abs=0.01)

    def test_it_counts_down_during_an_evaluation(self) -> None:
        *_, (stage, clock, _) = self.run(39)
        stage.on_step(step(40), clock + 1)
        before = stage.left(clock + 1)
        assert before == pytest.approx(self.truth("step 40"), abs=0.01)
        assert stage.left(clock + 1 + 4) == pytest.approx(before - 4, abs=0.01)
        stage.on_side_work(side(40, "evaluation", 5.0))
        assert stage.left(clock + 1 + 5) == pytest.approx(before - 5, abs=0.01)

    def test_a_resumed_run_owes_nothing_for_the_step_it_begins_at(self) -> None:
        *_, (stage, clock, what) = self.run(90, since=60)
        assert what == "checkpoint 90"
        assert stage.left(clock) == pytest.approx(10 + 5 + 2, abs=0.01)

    def test_only_at_the_end(self) -> None:
        work = SideWork(every=0, seconds=3.0)
        assert [work.to_come(step, 20) for step in (0, 10, 20)] == [1, 1, 1]
        assert (work.due(19, 20), work.due(20, 20)) == (0.0, 3.0)
        work.add(20, 3.0)
        assert (work.to_come(20, 20), work.due(20, 20)) == (0, 0.0)

    @given(every=st.integers(0, 7), total=st.integers(1, 40), data=st.data())
    def test_how_many_are_to_come(self, every: int, total: int, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, total))
        done = data.draw(st.booleans())
        planned = {n for n in range(1, total + 1) if n == total or (every and n % every == 0)}
        work = SideWork(every=every, last=at if done else max((n for n in planned if n < at), default=0))
        assert work.to_come(at, total) == len({n for n in planned if n > at or (n == at and not done)})


def test_the_share_of_the_peak() -> None:
    stage = start(machine={"peak_flops": 1e12})
    assert (stage.peak_known, stage.mfu) == (True, None)
    stage.on_step(step(1, mfu=0.4), 1.0)
    assert stage.mfu == 0.4
    assert start(machine={"peak_flops": None}).peak_known is False
    assert start().peak_known is None


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
    assert before.points == (2.0,)
    assert stage.left(0.0) is None  # no time passed: no pace


def test_a_curve_keeps_the_whole_run_in_bounded_memory() -> None:
    curve = Curve()
    for number in range(10_000):
        curve = curve.add(float(number)).add(math.nan)
    assert CURVE_POINTS // 2 <= len(curve.points) < CURVE_POINTS
    assert curve.points[0] == pytest.approx((curve.stride - 1) / 2)  # a mean of the first values, not of the newest
    steps = [later - earlier for earlier, later in zip(curve.points, curve.points[1:], strict=False)]
    assert steps == [curve.stride] * len(steps)
    assert curve.points[-1] > 9_700


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
