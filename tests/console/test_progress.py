"""Events in, lines out: on a terminal, in a log, on a narrow screen, with hostile text, in an accident."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from nanochat.console.kept import finished_line
from nanochat.console.progress import ConsoleProgress
from nanochat.errors import Interrupted
from nanochat.runtime.events import (
    BetweenSteps,
    CheckpointSaved,
    Evaluated,
    Event,
    Notice,
    RolloutsDone,
    Sampled,
    StageFinished,
    StageProgress,
    StageStarted,
    StepDone,
)

PIPELINE = ("data", "tokenizer", "base", "mid", "sft", "eval", "report")
TASKS = ("facts", "arithmetic", "counting", "spelling", "choice", "identity")
XTERM = {"TERM": "xterm-256color"}
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A console on a string, and a display on it."""

    def __init__(
        self,
        *stages: str,
        width: int = 100,
        terminal: bool = True,
        environ: dict[str, str] = XTERM,
        price_per_hour: float | None = None,
    ) -> None:
        self.out = io.StringIO()
        self.clock = Clock()
        console = Console(file=self.out, force_terminal=terminal, width=width, height=24, _environ=environ)
        self.show = ConsoleProgress(
            stages or PIPELINE, console=console, price_per_hour=price_per_hour, clock=self.clock
        )
        self.width = width

    @property
    def text(self) -> str:
        return self.out.getvalue()

    @property
    def lines(self) -> list[str]:
        return ESCAPE.sub("", self.text).replace("\r", "").splitlines()

    @property
    def picture(self) -> str:
        return "\n".join(line.plain for line in self.show.picture(self.width - 1))

    def train(self, stage: str, steps: int, *, to: int | None = None, seconds: float = 0.5) -> None:
        self.show(StageStarted(stage=stage, tag="t", total_steps=steps, tokens=steps * 8192))
        self.clock.now += 20.0
        for number in range(1, (to or steps) + 1):
            self.show(step(stage, number, steps))
            self.clock.now += seconds
        if to is None:
            self.show(Evaluated(stage=stage, step=steps, name="val_bpb", value=0.612))
            summary = {"first_loss": 8.32, "train_loss": 1.92, "val_bpb": 0.612, "tokens": 901_120}
            self.show(StageFinished(stage=stage, step=steps, elapsed_s=58.0, summary=summary))


def step(stage: str, number: int, total: int) -> StepDone:
    return StepDone(
        stage=stage,
        step=number,
        total_steps=total,
        loss=8.0 / number,
        lr_multiplier=1.0,
        tokens_per_s=15_300.0,
        tokens=number * 8192,
        elapsed_s=20 + number * 8192 / 15_300,
        memory_bytes=1_900_000_000,
    )


def pipeline(show: Callable[[Event], None], clock: Clock) -> Iterator[None]:
    """A whole run; yields now and then."""
    show(StageStarted(stage="data", tag="pocket", total_steps=0))
    for done in range(0, 12_000_001, 4_000_000):
        clock.now += 1
        show(StageProgress(stage="data", done=done, total=12_000_000, unit="bytes"))
        yield
    show(StageFinished(stage="data", step=0, elapsed_s=4.0, summary={"shards": 3, "bytes": 12_000_000}))
    yield
    show(StageStarted(stage="tokenizer", tag="pocket", total_steps=4096))
    for unit, total in (("characters", 8_000_000), ("merges", 3831)):
        for tenth in range(1, 11):
            clock.now += 0.4
            show(StageProgress(stage="tokenizer", done=total * tenth // 10, total=total, unit=unit))
            yield
    show(StageFinished(stage="tokenizer", step=0, elapsed_s=8.0, summary={"vocab_size": 4096}))
    for stage in ("base", "mid", "sft"):
        show(StageStarted(stage=stage, tag="pocket", total_steps=40, tokens=40 * 8192))
        yield
        clock.now += 30
        for number in range(1, 41):
            clock.now += 0.5
            show(step(stage, number, 40))
            yield
        show(Evaluated(stage=stage, step=40, name="val_bpb", value=0.6))
        show(CheckpointSaved(stage=stage, step=40, path="/x"))
        show(Sampled(stage=stage, step=40, prompt="The capital of Japan is", answer="Tokyo."))
        show(StageFinished(stage=stage, step=40, elapsed_s=50.0, summary={"first_loss": 8.0, "train_loss": 0.3}))
    show(StageStarted(stage="eval", tag="pocket", total_steps=0))
    for stage in ("base", "mid", "sft"):
        for number, name in enumerate(TASKS):
            clock.now += 2
            detail = f"pocket:{stage}@40 {name} 96/100"
            show(StageProgress(stage="eval", done=number + 0.5, total=6, unit="tasks", detail=detail))
            yield
            show(Evaluated(stage=stage, step=40, name=name, value=0.98, n=200, low=0.9, high=1.0, chance=0.0))
    show(StageFinished(stage="eval", step=40, elapsed_s=0.0))
    show(StageStarted(stage="report", tag="pocket", total_steps=0))
    show(StageFinished(stage="report", step=0, elapsed_s=0.0))
    yield


def test_a_whole_run_in_a_log() -> None:
    screen = Screen(terminal=False)
    with screen.show:
        for _ in pipeline(screen.show, screen.clock):
            pass
    assert "\x1b" not in screen.text
    kept = [line for line in screen.lines if "elapsed" not in line]
    score = "  ".join(f"{name} 98%" for name in TASKS)
    assert kept == [
        "✓ data  3 shards  12.0 MB  0:04",
        "✓ tokenizer  4,096 tokens  0:08",
        "▸ base  40 steps  compiling the training step (once, about a minute)…",
        "✓ base  40 steps  loss 8.00 → 0.30  val 0.60 bpb  0:50  (15.3k tok/s)",
        "▸ mid  40 steps  compiling the training step…",
        "✓ mid  40 steps  loss 8.00 → 0.30  val 0.60 bpb  0:50  (15.3k tok/s)",
        "▸ sft  40 steps  compiling the training step…",
        "✓ sft  40 steps  loss 8.00 → 0.30  val 0.60 bpb  0:50  (15.3k tok/s)",
        f"  base  {score}",
        f"  mid   {score}",
        f"  sft   {score}",
        "✓ eval  0:36",
        "✓ report  0:00",
    ]
    logged = [line for line in screen.lines if "elapsed" in line]
    assert logged[0].startswith("  base  1/40 steps  2%  loss 8.00  lr ×1.00  15.3k tok/s  mem 1.9 GB  elapsed 0:3")
    assert re.search(r"0:\d\d left$", logged[1])


@pytest.mark.parametrize("width", [30, 40, 60, 100, 300])
def test_the_block_keeps_its_height_and_width_through_a_whole_run(width: int) -> None:
    screen = Screen(width=width, price_per_hour=24.0)
    for _ in pipeline(screen.show, screen.clock):
        lines = screen.show.picture(width - 1)
        assert len(lines) == 4
        assert all(line.cell_len <= width - 1 for line in lines), [line.plain for line in lines]


@pytest.mark.parametrize("width", [60, 100])
def test_lines_that_stay_fit_the_terminal(width: int) -> None:
    screen = Screen(width=width)
    with screen.show:
        for _ in pipeline(screen.show, screen.clock):
            pass
        screen.show(Notice(stage="sft", level="warning", message="a long story about /a/path/that" + "/goes/on" * 20))
    assert all(len(line) <= width for line in screen.lines), screen.lines
    for name in TASKS:
        assert f"{name} 98%" in screen.text


def test_the_log_has_one_line_in_ten_seconds() -> None:
    screen = Screen("base", terminal=False)
    with screen.show:
        screen.train("base", 200)
    logged = [line for line in screen.lines if "elapsed" in line]
    assert len(logged) == 10  # 100 s of steps
    assert re.search(
        r"  base  21/200 steps  10%  loss 0.38  lr ×1.00  15.3k tok/s  mem 1.9 GB  elapsed 0:30  1:30 left", screen.text
    )


def test_training_on_a_terminal() -> None:
    screen = Screen("base")
    with screen.show:
        assert "preparing base…" in screen.picture
        screen.show(StageStarted(stage="base", tag="t", total_steps=110, tokens=1, machine={"compile": True}))
        screen.clock.now = 23.0
        assert "compiling the training step (once, about a minute)…" in screen.picture
        assert "0%  0/110 steps  elapsed 0:23" in screen.picture
        for number in range(1, 47):
            screen.show(step("base", number, 110))
            screen.clock.now += 0.5
        stages, bar, learning, figures = screen.picture.splitlines()
        assert stages == "▸ base"
        assert "━━─" in bar
        assert bar.endswith(" 41%  46/110 steps  0:32 left")
        assert re.fullmatch(r"  loss 0.17  █[▁▂▃▄▅▆▇]{45}  lr ×1.00", learning)
        assert figures == "  15.3k tok/s  mem 1.9 GB  elapsed 0:46"
        screen.show(step("base", 110, 110))
        assert "100%  110/110 steps  finishing…" in screen.picture
    assert "✓" not in screen.text


def test_a_first_step_without_a_compiler() -> None:
    screen = Screen("base")
    screen.show(StageStarted(stage="base", tag="t", total_steps=10, machine={"compile": False}))
    assert "taking the first step…" in screen.picture
    assert "compil" not in screen.picture


def test_the_stage_line() -> None:
    screen = Screen(width=100)
    screen.show(StageFinished(stage="data", step=0, elapsed_s=3.0))
    screen.show(StageFinished(stage="tokenizer", step=0, elapsed_s=0.0, skipped=True))
    screen.show(StageStarted(stage="base", tag="t", total_steps=10))
    assert screen.picture.startswith("✓ data 0:03  ✓ tokenizer  ▸ base  · mid  · sft  · eval  · report\n")
    screen.width = 61
    assert screen.picture.startswith("✓ data  ✓ tokenizer  ▸ base  · mid  · sft  · eval  · report\n")
    screen.width = 50
    assert screen.picture.startswith("✓ 2 done  ▸ base  · 4 to come\n")
    screen.width = 20
    assert screen.picture.startswith("✓ 2 done  ▸ base  …\n")


def test_other_work_shows_its_own_units() -> None:
    screen = Screen()
    screen.show(StageStarted(stage="data", tag="t", total_steps=0))
    screen.clock.now = 2.0
    screen.show(StageProgress(stage="data", done=6e6, total=12e6, unit="bytes"))
    assert "50%  6.0/12.0 MB  0:02 left" in screen.picture
    assert "elapsed 0:02  3.0 MB/s" in screen.picture
    screen.show(StageProgress(stage="data", done=900, total=12e6, unit="bytes"))
    assert " 900 B/12.0 MB" in screen.picture
    screen.show(StageProgress(stage="eval", done=2.5, total=6, unit="tasks", detail="t:sft@40 facts 96/100"))
    assert "41%  2/6 tasks" in screen.picture
    assert "t:sft@40 facts 96/100" in screen.picture


def test_done_before_and_going_on() -> None:
    for terminal in (True, False):
        screen = Screen(terminal=terminal)
        with screen.show:
            screen.show(StageFinished(stage="base", step=110, elapsed_s=0.0, skipped=True, summary={"step": 110}))
            screen.show(StageStarted(stage="mid", tag="t", total_steps=110, resumed_from=40))
        assert "✓ base  done before" in screen.lines
        assert any(line.startswith("▸ mid  resumed at step 40 of 110") for line in screen.lines)


def test_the_longer_of_two_times_is_told() -> None:
    screen = Screen("base", terminal=False)
    screen.train("base", 10, seconds=10.0)
    assert "val 0.61 bpb  2:00" in screen.text  # this run's 120 s, not the 58 s of the steps alone


def test_notices_and_scores_of_a_single_evaluation() -> None:
    screen = Screen("eval", terminal=False)
    with screen.show:
        screen.show(Notice(stage="eval", level="info", message="all is well"))
        screen.show(Notice(stage="eval", level="warning", message="no C++ compiler"))
        screen.show(Evaluated(stage="sft", step=1, name="facts", value=0.5))
        screen.show(Evaluated(stage="sft", step=1, name="core", value=0.1234))
    assert screen.lines == ["  all is well", "  warning: no C++ compiler", "  sft   facts 50%  core 0.123"]


def test_scores_during_training_name_their_step() -> None:
    screen = Screen("sft", terminal=False)
    with screen.show:
        for at in (250, 500):
            screen.show(Evaluated(stage="sft", step=at, name="val_bpb", value=0.6))
            screen.show(Evaluated(stage="sft", step=at, name="val/facts", value=0.5, n=10))
            screen.show(Evaluated(stage="sft", step=at, name="val/score", value=0.45))
            screen.show(step("sft", at + 1, 600))
    lines = [line for line in screen.lines if "facts" in line]
    assert lines == ["  sft step 250  facts 50%  score 0.450", "  sft step 500  facts 50%  score 0.450"]


def test_warnings_are_yellow_on_a_terminal() -> None:
    screen = Screen("base")
    with screen.show:
        screen.show(Notice(stage="base", level="warning", message="careful"))
    assert "\x1b[33mwarning: careful" in screen.text


@pytest.mark.parametrize("terminal", [True, False])
def test_foreign_text_is_only_text(terminal: bool) -> None:
    evil = "[bold red]x[/nope]\x1b[2J\x07\r\n:smile:"
    screen = Screen(evil, "eval", terminal=terminal)
    with screen.show:
        screen.show(StageStarted(stage=evil, tag=evil, total_steps=1))
        screen.show(StageProgress(stage=evil, done=1, total=2, unit=evil, detail=evil))
        screen.show(Notice(stage=evil, level=evil, message=evil))
        screen.show(Evaluated(stage=evil, step=1, name=evil, value=float("nan")))
        screen.show(StageFinished(stage=evil, step=1, elapsed_s=0.0, summary={"first_loss": evil, "shards": None}))
        screen.picture.encode()
    assert "[bold red]x[/nope]�[2J�  :smile:" in screen.text
    assert "\x1b[2J" not in screen.text
    assert "\x07" not in screen.text


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_no_escape_codes_where_they_are_not_wanted(environ: dict[str, str]) -> None:
    screen = Screen(environ=environ)
    with screen.show:
        for _ in pipeline(screen.show, screen.clock):
            pass
        screen.show(Notice(stage="sft", level="warning", message="careful"))
    assert "\x1b" not in screen.text
    assert "✓ report  0:00" in screen.lines


def test_a_stream_that_knows_only_ascii() -> None:
    for terminal in (True, False):
        raw = io.BytesIO()
        with io.TextIOWrapper(raw, encoding="ascii") as file:
            console = Console(file=file, force_terminal=terminal, width=100, _environ=XTERM)
            clock = Clock()
            with ConsoleProgress(PIPELINE, console=console, clock=clock) as show:
                for _ in pipeline(show, clock):
                    pass
            file.flush()
            assert b"+ base  40 steps  loss 8.00 > 0.30" in ESCAPE.sub("", raw.getvalue().decode()).encode()


@pytest.mark.parametrize("error", [Interrupted("stopped", "again"), KeyboardInterrupt(), RuntimeError("bug")])
def test_an_accident_leaves_the_terminal_sane(error: BaseException) -> None:
    screen = Screen("base", "eval")
    stderr = sys.stderr
    with pytest.raises(type(error)), screen.show:
        screen.train("base", 110, to=5)
        screen.show(Evaluated(stage="sft", step=1, name="facts", value=0.5))
        raise error
    assert screen.text.rfind("\x1b[?25h") > screen.text.rfind("\x1b[?25l")
    assert screen.text.endswith("\x1b[2K")  # the block is wiped
    assert sys.stderr is stderr
    assert "  sft   facts 50%" in screen.lines


def test_the_cursor_is_visible_all_the_time() -> None:
    screen = Screen("base")
    with screen.show:
        assert screen.text.rfind("\x1b[?25h") > screen.text.rfind("\x1b[?25l")


def test_many_events_cost_few_pictures() -> None:
    screen = Screen("base")
    screen.show._clock = time.monotonic
    started = time.monotonic()
    with screen.show:
        screen.show(StageStarted(stage="base", tag="t", total_steps=20_000))
        for number in range(1, 20_001):
            screen.show(step("base", number, 20_000))
    seconds = time.monotonic() - started
    pictures = screen.text.count("▸ base")
    assert pictures <= 8 * seconds + 4
    assert seconds < 5


def test_standard_output_that_is_no_terminal_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("base")
    with screen.show:
        print("data")
        print("from a library", file=sys.stderr)
    assert capsys.readouterr().out == "data\n"
    assert "from a library" in screen.lines


def test_scores_are_told_as_soon_as_the_next_model_is_asked() -> None:
    screen = Screen("eval", terminal=False)
    with screen.show:
        screen.show(StageProgress(stage="eval", done=6.0, total=6, unit="tasks"))
        screen.show(Evaluated(stage="base", step=1, name="facts", value=0.5))
        assert screen.text == ""
        screen.show(StageProgress(stage="eval", done=0.5, total=6, unit="tasks"))
        assert screen.lines == ["  base  facts 50%"]


def test_a_tokenizer_tells_counting_from_merging() -> None:
    summary = {"vocab_size": 4096, "bytes": 42_100_000, "counting_s": 0.25, "merging_s": 1.5}
    event = StageFinished(stage="tokenizer", step=0, elapsed_s=2.0, summary=summary)
    wide = finished_line(event, None, 2.0, 100).plain
    assert wide == "✓ tokenizer  42.1 MB  4,096 tokens  0:02  (counting 0.25 s, merging 1.50 s)"
    assert finished_line(event, None, 2.0, 60).plain == "✓ tokenizer  42.1 MB  4,096 tokens  0:02"


class TestCost:
    def test_a_single_stage_tells_what_it_will_have_cost(self) -> None:
        screen = Screen("base", price_per_hour=36.0)
        screen.train("base", 100, to=60, seconds=1.0)  # 20 s for the first step, then one a second
        assert screen.picture.endswith("elapsed 1:20  $0.80 of $1.19")

    def test_in_a_pipeline_the_stages_to_come_are_not_guessed(self) -> None:
        screen = Screen(price_per_hour=36.0)
        screen.clock.now += 100.0
        screen.train("base", 100, to=60, seconds=1.0)
        assert screen.picture.endswith("elapsed 1:20  $1.80, base ends at $2.19")
        screen.show(StageProgress(stage="eval", done=2.5, total=6, unit="tasks"))
        assert screen.picture.endswith("\n  $1.80")

    def test_a_log_and_the_end_tell_it_too(self) -> None:
        screen = Screen("base", terminal=False, price_per_hour=36.0)
        with screen.show:
            screen.train("base", 100, seconds=1.0)
        assert "0:29 left  $0.90 of $1.19" in screen.text
        assert screen.lines[-1] == "  $1.20 for 2:00 at $36.00 an hour"

    def test_without_a_price_nothing_is_said_of_money(self) -> None:
        screen = Screen("base", terminal=False)
        with screen.show:
            screen.train("base", 100, seconds=1.0)
        assert "$" not in screen.text


class TestShareAndMemory:
    def show(self, peak: float | None, mfu: float | None, **screen: bool) -> Screen:
        shown = Screen("base", width=140, **screen)
        machine = {"peak_flops": peak, "compile": False}
        shown.show(StageStarted(stage="base", tag="t", total_steps=100, tokens=100, machine=machine))
        shown.clock.now += 20.0
        shown.show(replace(step("base", 1, 100), mfu=mfu))
        return shown

    def test_the_share_of_the_peak_stands_in_block_and_log(self) -> None:
        assert "15.3k tok/s  mfu 41%" in self.show(1e12, 0.41).picture
        assert "15.3k tok/s  mfu 41%" in "\n".join(self.show(1e12, 0.41, terminal=False).lines)

    def test_the_facts_that_matter_most_are_there_at_sixty_columns(self) -> None:
        screen = Screen("base", width=60, price_per_hour=24.0)
        machine = {"peak_flops": 1e12, "compile": False}
        screen.show(StageStarted(stage="base", tag="t", total_steps=100, tokens=100, machine=machine))
        for number in range(1, 41):
            screen.clock.now += 0.5
            screen.show(replace(step("base", number, 100), mfu=0.41))
        screen.show(Evaluated(stage="base", step=40, name="val_bpb", value=0.612))
        assert re.fullmatch(
            r"▸ base\n"
            r"  ━+─+   40%  40/100 steps  0:30 left\n"
            r"  loss 0.20  █[▁▂▃▄▅▆▇]{18}  val 0.61 bpb  lr ×1.00\n"
            r"  15.3k tok/s  mfu 41%  mem 1.9 GB  \$0.13 of \$0.33",
            screen.picture,
        )

    def test_an_unknown_peak_is_said_to_be(self) -> None:
        assert "mfu n/a" in self.show(None, None).picture

    def test_peak_memory_at_the_end(self) -> None:
        event = StageFinished(stage="base", step=1, elapsed_s=9.0, summary={"peak_memory_bytes": 1_300_000_000})
        screen = self.show(1e12, 0.4, terminal=False)
        screen.show(event)
        assert "1.3 GB at most" in screen.lines[-1]

    def test_time_left_knows_the_evaluations_to_come(self) -> None:
        screen = Screen("base", width=140)
        screen.show(StageStarted(stage="base", tag="t", total_steps=100, tokens=100, schedule={"evaluation": 10}))
        for number in range(1, 11):
            screen.clock.now += 1.0
            screen.show(step("base", number, 100))
        assert "1:30 left" in screen.picture
        screen.clock.now += 20.0
        screen.show(BetweenSteps(stage="base", step=10, work="evaluation", seconds=20.0))
        assert "4:30 left" in screen.picture  # 90 steps of a second, nine evaluations of twenty


def practise(screen: Screen, *, to: int = 4) -> None:
    """Steps of reinforcement learning, examined before the first and after the second."""

    def examined(number: int, value: float) -> None:
        passed = {"val/problems pass@1": value, "val/problems pass@4": value + 0.2}
        for name, found in (passed | {"val_error": 1 - value}).items():
            screen.show(Evaluated(stage="rl", step=number, name=name, value=found, n=100))
        screen.show(BetweenSteps(stage="rl", step=number, work="evaluation", seconds=3.0))

    screen.show(StageStarted(stage="rl", tag="t", total_steps=4, tokens=512, schedule={"evaluation": 2}))
    examined(0, 0.48)
    for number in range(1, to + 1):
        paid = 0.5 + number / 10
        screen.show(
            RolloutsDone(
                stage="rl", step=number, reward=paid, answer_tokens=14.6, ended=1.0, telling=0.375, seconds=0.5
            )
        )
        screen.clock.now += 15.0
        screen.show(replace(step("rl", number, 4), loss=-0.003))
        if number == 2:
            examined(2, 0.6)


def test_practice_shows_rewards_where_others_show_losses() -> None:
    screen = Screen("rl", terminal=False)
    with screen.show:
        practise(screen)
        summary = {"first_reward": 0.6, "reward": 0.85, "first_loss": -0.1, "train_loss": -0.003}
        screen.show(StageFinished(stage="rl", step=4, elapsed_s=60.0, summary=summary))
    assert "  rl step 0  problems pass@1 48%  problems pass@4 68%" in screen.lines
    assert "  rl step 2  problems pass@1 60%  problems pass@4 80%" in screen.lines
    assert [line for line in screen.lines if "reward 0.700  answers 15 tokens  telling 38%" in line]
    assert "reward 0.60 → 0.85" in screen.lines[-1]
    assert "loss" not in screen.text
    assert "val_error" not in screen.text


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_block_of_practice_fits(width: int) -> None:
    screen = Screen("rl", width=width)
    with screen.show:
        practise(screen, to=3)
        picture = screen.picture
    assert "reward 0.800" in picture
    assert all(len(line) < width for line in picture.splitlines())
    assert len(picture.splitlines()) == 4
