"""Records of events in, one run a stage and every figure once out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nanochat.loggers.mirror import Mirror, Plain, RunIdentity, as_markdown, flatten
from nanochat.runtime.events import (
    Evaluated,
    Event,
    EventLog,
    RolloutsDone,
    Sampled,
    StageFinished,
    StageStarted,
    StepDone,
    record_of,
)


class Notebook:
    """A tracker that takes everything down."""

    def __init__(self) -> None:
        self.runs: list[RunIdentity] = []
        self.configs: list[Mapping[str, Plain]] = []
        self.rows: list[tuple[str, int, Any]] = []
        self.closed: list[bool] = []

    def open(self, run: RunIdentity, config: Mapping[str, Plain]) -> str:
        assert len(self.runs) == len(self.closed)
        self.runs.append(run)
        self.configs.append(config)
        return f"look at {run.id}"

    def figures(self, step: int, at: float, values: Mapping[str, float]) -> None:
        self.rows.append((self.runs[-1].name, step, dict(values)))

    def samples(self, step: int, at: float, rows: list[tuple[str, str]]) -> None:
        self.rows.append((self.runs[-1].name, step, rows))

    def close(self, finished: bool) -> None:
        self.closed.append(finished)

    def losses(self) -> list[int]:
        return [step for _, step, values in self.rows if "train/loss" in values]


class Life:
    """A process that trains and its logger: what the stage's log holds, and what the logger is told."""

    def __init__(self, models: Path, *, logged: bool = True) -> None:
        self.models = models
        self.notebook = Notebook()
        self.said: list[str] = []
        self.mirror = Mirror("probe", self.notebook, models, self.said.append) if logged else None

    def __call__(self, events: Iterable[Event]) -> None:
        for event in events:
            if not (isinstance(event, StageFinished) and event.skipped) and event.stage != "eval":  # type: ignore[attr-defined]
                log = EventLog(self.models / "t" / event.stage / "events.jsonl")  # type: ignore[attr-defined]
                log(event)
                log.close()
            if self.mirror:
                self.mirror(json.loads(json.dumps(record_of(event))))


def start(resumed_from: int | None = None, stage: str = "base", run: str = "t") -> StageStarted:
    return StageStarted(stage=stage, tag="t", run=run, total_steps=9, tokens=900, resumed_from=resumed_from)


def step(number: int, stage: str = "base", **more: Any) -> StepDone:
    values: dict[str, Any] = {"loss": 9.0 / number, "tokens_per_s": 50.0, "memory_bytes": 7} | more
    return StepDone(
        stage=stage, step=number, total_steps=9, lr_multiplier=0.5, tokens=100 * number, elapsed_s=1.0, **values
    )


def steps(first: int, last: int) -> list[Event]:
    return [step(number) for number in range(first, last + 1)]


def score(name: str, number: int = 9, stage: str = "base", value: float = 0.6) -> Evaluated:
    return Evaluated(stage=stage, step=number, name=name, value=value)


def sample(number: int, prompt: str) -> Sampled:
    return Sampled(stage="base", step=number, prompt=prompt, answer=f"{prompt}!")


DONE = StageFinished(stage="base", step=9, elapsed_s=1.0)


def test_a_stage_is_a_run_with_its_figures(tmp_path: Path) -> None:
    (tmp_path / "t" / "base").mkdir(parents=True)
    config = {"run": "t", "train": {"depth": 2, "run": ""}, "model": {"none": None, "list": [1, 2]}}
    (tmp_path / "t" / "base" / "config.json").write_text(json.dumps(config))
    life = Life(tmp_path)
    life([start(), step(1, mfu=0.25), score("val_bpb", 1), sample(1, "a"), sample(1, "b"), step(2), DONE])
    assert life.mirror
    life.mirror.close()
    (run,) = life.notebook.runs
    assert (run.name, run.group, run.stage, run.known) == ("t:base", "t", "base", False)
    assert life.notebook.configs == [{"run": "t", "train.depth": 2, "train.run": "", "model.list": "[1, 2]"}]
    figures = {
        "train/loss": 9.0,
        "train/lr_multiplier": 0.5,
        "train/tokens": 100.0,
        "speed/tokens_per_s": 50.0,
        "speed/mfu": 0.25,
        "speed/memory_bytes": 7.0,
    }
    assert life.notebook.rows[:3] == [
        ("t:base", 1, figures),
        ("t:base", 1, {"val/bpb": 0.6}),
        ("t:base", 1, [("a", "a!"), ("b", "b!")]),
    ]
    assert "speed/mfu" not in life.notebook.rows[3][2]  # where the peak is unknown
    assert life.notebook.closed == [True]
    assert life.said == [f"look at {run.id}"]


def test_a_stage_that_goes_on_is_the_same_run_and_no_step_is_told_twice(tmp_path: Path) -> None:
    first, second = Life(tmp_path), Life(tmp_path)
    first([start(), *steps(1, 5), score("val_bpb", 4), sample(4, "a")])
    assert first.mirror and second.mirror  # the first is never closed: kill -9
    second([start(resumed_from=3), *steps(4, 9), score("val_bpb", 4), score("val_bpb", 8), sample(4, "a"), DONE])
    second.mirror.close()
    assert second.notebook.runs[0].id == first.notebook.runs[0].id
    assert second.notebook.runs[0].known
    assert first.notebook.losses() + second.notebook.losses() == list(range(1, 10))
    assert [at for _, at, values in second.notebook.rows if "val/bpb" in values] == [8]


def test_a_stage_that_begins_anew_is_another_run(tmp_path: Path) -> None:
    first, second = Life(tmp_path), Life(tmp_path)
    first([start(), *steps(1, 2)])
    second([start(), *steps(1, 4)])
    assert second.notebook.runs[0].id != first.notebook.runs[0].id
    assert not second.notebook.runs[0].known
    assert second.notebook.losses() == [1, 2, 3, 4]


def test_a_logger_that_comes_late_gets_what_was_before(tmp_path: Path) -> None:
    without, late = Life(tmp_path, logged=False), Life(tmp_path)
    without([start(), *steps(1, 6), sample(2, "a"), sample(2, "b"), sample(6, "a")])
    late([start(resumed_from=4), *steps(5, 9), DONE])
    assert late.notebook.losses() == list(range(1, 10))
    assert ("t:base", 2, [("a", "a!"), ("b", "b!")]) in late.notebook.rows
    assert not any(step == 6 and "train/loss" not in values for _, step, values in late.notebook.rows)


def test_scores_find_the_run_of_their_stage(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life(
        [
            start(),
            *steps(1, 2),
            DONE,
            start(stage="mid"),
            step(1, "mid"),
            StageFinished(stage="mid", step=1, elapsed_s=1),
        ]
    )
    life([StageStarted(stage="eval", tag="t", total_steps=0), score("facts", 2), score("facts", 1, "mid")])
    assert life.mirror
    life.mirror.close()
    base, mid, *again = life.notebook.runs
    assert [run.id for run in again] == [base.id, mid.id]
    assert all(run.known for run in again)
    assert life.notebook.rows[-2:] == [("t:base", 2, {"score/facts": 0.6}), ("t:mid", 1, {"score/facts": 0.6})]
    assert life.notebook.closed == [True] * 4


def test_a_run_that_was_cut_short_is_not_finished(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life([start(), *steps(1, 2)])
    assert life.mirror
    life.mirror.close()
    assert life.notebook.closed == [False]


def test_what_is_no_number_and_other_stages_are_left_out(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life([score("facts"), StageStarted(stage="data", tag="t", total_steps=0), step(1)])
    assert not life.notebook.runs
    life([start(), step(1, loss=float("nan")), score("val_bpb", 1, value=float("inf")), step(2, "mid")])
    assert [(at, "train/loss" in values) for _, at, values in life.notebook.rows] == [(1, False)]


def test_a_name_of_ones_own(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life([start(run="second try")])
    assert life.notebook.runs[0].name == "second try:base"


def test_flat_values_are_plain() -> None:
    assert flatten({"a": {"b": {"c": True}}, "d": None, "e": []}) == {"a.b.c": True, "e": "[]"}


def test_what_a_model_says_is_code_and_nothing_else() -> None:
    text = as_markdown([("a\nb", "# no\n\n![x](http://x)"), ("c", "")])
    assert all(line.startswith("    ") for line in text.splitlines())
    assert text.splitlines()[2] == "    # no"


def test_rewards_are_told_once_beside_their_step(tmp_path: Path) -> None:
    def practised(number: int) -> list[Event]:
        rollouts = RolloutsDone(
            stage="rl", step=number, reward=0.5, answer_tokens=14.0, ended=1.0, telling=0.25, seconds=1.0
        )
        return [rollouts, step(number, "rl")]

    life = Life(tmp_path)
    life([start(stage="rl"), *practised(1), *practised(2), start(1, stage="rl"), *practised(2)])
    assert life.mirror
    life.mirror.close()
    told = [(step, values) for _, step, values in life.notebook.rows if "train/reward" in values]
    figures = {"train/reward": 0.5, "train/answer_tokens": 14.0, "train/ended": 1.0, "train/telling": 0.25}
    assert told == [(1, figures), (2, figures)]
    assert life.notebook.losses() == [1, 2]
