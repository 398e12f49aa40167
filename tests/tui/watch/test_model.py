"""What is known of a run: resumes, samples, silence, the pipeline, comparison at equal step, tokens or time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from runlogs import START, STEP_S, append, started, step, validation, write_run, write_scores

from nanochat.runtime.paths import Paths
from nanochat.tui.watch.comparison import compare
from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.model import Model, runs
from nanochat.tui.watch.run import StageLog

END = START + 200 * STEP_S


def read(folder: Path) -> StageLog:
    log = StageLog(folder)
    log.catch_up()
    return log


def test_a_run_under_way(tmp_path: Path) -> None:
    log = read(write_run(tmp_path / "d4" / "base"))
    assert (log.step, log.total_steps, log.finished) == (200, 240, None)
    assert log.val_bpb == pytest.approx(1.1353, abs=1e-4)
    assert log.state(END + 5) == "running"
    assert log.left_s(END) == pytest.approx(40 * STEP_S, rel=0.05)
    assert [said.message for said in log.notices] == ["the disk is slow"]
    assert sorted(log.samples) == [(100, "The sky is"), (200, "The sky is")]


def test_silence_is_longer_than_any_wait_before(tmp_path: Path) -> None:
    folder = tmp_path / "d4" / "base"
    append(folder / "events.jsonl", started(9), step(1, 9, time=START + 400), step(2, 9, time=START + 401))
    log = read(folder)
    assert log.state(START + 401 + 700) == "running"
    assert log.state(START + 401 + 900) == "silent"
    assert log.left_s(START + 401 + 900) is None
    append(folder / "events.jsonl", step(3, 9, time=START + 1400))
    log.catch_up()
    assert log.state(START + 1400) == "running"


def test_the_first_step_may_take_its_time(tmp_path: Path) -> None:
    append(tmp_path / "d4" / "base" / "events.jsonl", started(9))
    log = read(tmp_path / "d4" / "base")
    assert log.state(START + 300) == "running"
    assert log.state(START + 700) == "silent"


def test_a_clock_that_is_behind(tmp_path: Path) -> None:
    log = read(write_run(tmp_path / "d4" / "base"))
    assert log.age_s(START - 1000) == 0.0
    assert log.state(START - 1000) == "running"


def test_what_a_resume_threw_away_does_not_count(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "d4" / "base")
    log = read(folder)
    append(folder / "events.jsonl", started(240, resumed_from=120, step=210), step(121, 240, 9.0, time=END + 20))
    log.catch_up()
    assert [point.x for point in log.steps.points("loss", "step")] == list(range(1, 122))
    assert log.steps.points("loss", "step")[-1].mean == 9.0
    assert [point.x for point in log.validations.points("val_bpb", "step")] == [50, 100]
    assert sorted(log.samples) == [(100, "The sky is")]


def test_a_run_begun_anew_in_the_same_log(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "d4" / "base")
    append(folder / "events.jsonl", started(10, step=300), step(1, 10, 5.0))
    log = read(folder)
    assert (log.step, log.total_steps, len(log.steps), len(log.validations)) == (1, 10, 1, 0)


def test_another_run_in_its_place(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "d4" / "base")
    log = read(folder)
    (folder / "events.jsonl").unlink()
    (folder / "samples.jsonl").unlink()
    append(folder / "events.jsonl", started(10), step(1, 10, 5.0))
    append(folder / "samples.jsonl", {"step": 1, "prompt": "a", "answer": "b"})
    log.catch_up()
    log.catch_up()
    assert (log.step, len(log.steps), list(log.samples)) == (1, 1, [(1, "a")])


def test_reading_in_small_pieces_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path / "d4" / "base")
    whole = read(folder)
    monkeypatch.setattr("nanochat.tui.watch.reading.Tail.read.__defaults__", (700,))
    log = StageLog(folder)
    rounds = 0
    while not rounds or log.left:
        log.take(log.read())
        rounds += 1
    assert rounds > 50
    assert log.curve("loss", "step") == whole.curve("loss", "step")
    assert log.validations.points("val_bpb", "time") == whole.validations.points("val_bpb", "time")


def test_the_pipeline(tmp_path: Path) -> None:
    write_run(tmp_path / "d4" / "base", finished=True)
    write_scores(tmp_path / "d4" / "base")
    append(tmp_path / "d4" / "sft" / "events.jsonl", started(9, step=300), step(1, 9, time=END + 90))
    model = Model(tmp_path / "d4")
    model.catch_up()
    boxes = {box.name: box for box in model.pipeline(END + 91)}
    assert {name: box.state for name, box in boxes.items()} == {
        "data": "finished",
        "tokenizer": "finished",
        "base": "finished",
        "sft": "running",
        "eval": "to come",
    }
    assert boxes["data"].detail == "pocket, 1,234 documents"
    assert boxes["tokenizer"].detail == "512 tokens"
    assert (boxes["base"].elapsed_s, boxes["base"].score) == (200 * STEP_S, pytest.approx(0.5))
    assert model.shown.stage == "sft"
    model.stage = "base"
    assert model.shown.stage == "base"


def test_a_stage_that_is_validated_by_another_figure(tmp_path: Path) -> None:
    folder = tmp_path / "d4" / "rl"
    error = {"event": "Evaluated", "time": START + 1, "stage": "rl", "step": 3, "name": "val_error", "value": 0.25}
    append(folder / "events.jsonl", {**started(9), "stage": "rl"}, error)
    model = Model(tmp_path / "d4")
    model.catch_up()
    box = next(box for box in model.pipeline(START + 2) if box.name == "rl")
    assert (box.val_bpb, box.detail) == (None, "running, val_error 0.2500")
    (folder / "events.jsonl").unlink()
    (folder / "finished.json").write_text(json.dumps({"step": 7, "val_loss": 0.5}))
    assert read(folder).other_validation == "val_loss 0.5000"


def test_a_model_of_which_nothing_is_there_yet(tmp_path: Path) -> None:
    model = Model(tmp_path / "d4")
    model.catch_up()
    assert [box.state for box in model.pipeline(START)] == ["to come"] * 6
    assert (model.shown.stage, model.shown.step, model.shown.val_bpb) == ("base", 0, None)


def test_only_the_summary_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "d4" / "base"
    folder.mkdir(parents=True)
    (folder / "finished.json").write_text(json.dumps({"step": 7, "val_bpb": 0.5, "elapsed_s": 3}))
    log = read(folder)
    assert (log.state(END), log.step, log.val_bpb, log.elapsed_s) == ("finished", 7, 0.5, 3.0)


def test_a_log_that_is_a_folder_is_a_problem_in_words(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "d4" / "base")
    (folder / "events.jsonl").unlink()
    (folder / "events.jsonl").mkdir()
    model = Model(tmp_path / "d4")
    model.catch_up()
    assert "events.jsonl: Is a directory" in model.problem
    (folder / "events.jsonl").rmdir()
    append(folder / "events.jsonl", started(9), step(1, 9))
    model.catch_up()
    assert (model.problem, model.shown.step) == ("", 1)


def test_a_folder_that_cannot_be_looked_into_is_a_problem_in_words(tmp_path: Path) -> None:
    (tmp_path / "d4").mkdir()
    (tmp_path / "d4" / "base").symlink_to("base")
    model = Model(tmp_path / "d4")
    model.catch_up()
    assert "base/events.jsonl: Too many levels of symbolic links" in model.problem


def test_runs_newest_first(tmp_path: Path) -> None:
    for age, name in enumerate(("d4/base", "d4/sft", "d6/base")):
        path = tmp_path / "models" / name / "events.jsonl"
        append(path, started(9))
        os.utime(path, (START - age, START - age))
    (tmp_path / "models" / "empty" / "base").mkdir(parents=True)
    paths = Paths(base=tmp_path, cache=tmp_path / "cache")
    assert runs(paths) == [("d4", "base"), ("d4", "sft"), ("d6", "base")]


class TestComparison:
    def test_at_the_last_place_that_both_have(self, tmp_path: Path) -> None:
        own = read(write_run(tmp_path / "d4" / "base"))
        other = read(write_run(tmp_path / "d5" / "base", steps=120, shift=0.25))
        found = compare(own, other, Look(smoothing=0.0))
        assert (found.name, found.x) == ("d5:base", 120)
        assert {one.metric: one.difference for one in found.differences} == {
            "loss": pytest.approx(-0.25),
            "val_bpb": pytest.approx(-0.25),
            "tokens_per_s": pytest.approx(0),
        }
        assert [one.x for one in found.differences] == [120, 100, 120], "the other's last validation was at 100"
        found = compare(own, other, Look(smoothing=0.0, cursor=75.0))
        assert {one.metric: one.difference for one in found.differences}["val_bpb"] == pytest.approx(-0.25)

    def test_at_equal_tokens_and_time(self, tmp_path: Path) -> None:
        """A run of twice the batch that takes twice as long a step: other steps at the same tokens and time."""
        own = read(write_run(tmp_path / "d4" / "base", steps=100))
        changes = [step(n, 100, loss=float(n), tokens=n * 2000, elapsed_s=n * 4 * STEP_S) for n in range(1, 101)]
        append(tmp_path / "d5" / "base" / "events.jsonl", started(100), *changes)
        other = read(tmp_path / "d5" / "base")
        at = {axis: compare(own, other, Look(axis=axis, smoothing=0.0)) for axis in ("step", "tokens", "time")}
        assert {axis: found.x for axis, found in at.items()} == {"step": 100, "tokens": 100_000, "time": 50.0}
        assert {axis: found.differences[0].other for axis, found in at.items()} == {
            "step": 100,
            "tokens": 50,
            "time": 25,
        }

    def test_beyond_the_other(self, tmp_path: Path) -> None:
        own = read(write_run(tmp_path / "d4" / "base"))
        other = read(write_run(tmp_path / "d5" / "base", steps=20))
        assert compare(own, other, Look(cursor=150.0)).differences == ()

    def test_of_the_same_stage(self, tmp_path: Path) -> None:
        write_run(tmp_path / "d4" / "base")
        append(tmp_path / "d4" / "sft" / "events.jsonl", started(9, step=900), step(1, 9, time=END + 900))
        other = Model(tmp_path / "d4")
        other.catch_up()
        base = StageLog(tmp_path / "d9" / "base")
        assert other.beside(base).stage == "base"
        assert other.beside(StageLog(tmp_path / "d9" / "mid")).stage == "sft"
        assert Model(tmp_path / "d4", "sft").beside(base).stage == "sft"


def test_a_validation_stands_at_its_step(tmp_path: Path) -> None:
    path = tmp_path / "d4" / "base" / "events.jsonl"
    append(path, started(9), *(step(n, 9) for n in range(1, 6)), validation(3, 1.5))
    log = read(path.parent)
    assert [(point.x, point.mean) for point in log.validations.points("val_bpb", "tokens")] == [(3000, 1.5)]
