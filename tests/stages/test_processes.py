"""Several processes train one model: as one process would, to the last bit, and so that any number can go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fleet import (
    run_fleet,
    score,
    train,
    train_and_stop_at_the_end,
    train_and_stop_in_validation,
    train_behind,
    train_with_memory,
)

from nanochat.checkpoints.layout import is_finished, step_dirs
from nanochat.checkpoints.store import Checkpoint, latest_valid, load_checkpoint
from nanochat.errors import Interrupted, UsageError
from nanochat.runtime.events import CheckpointSaved, Evaluated, Event, StageStarted, StepDone
from nanochat.runtime.processes import ALONE


def losses(events: list[Event]) -> dict[int, float]:
    return {event.step: event.loss for event in events if isinstance(event, StepDone)}


def validations(events: list[Event]) -> dict[int, float]:
    return {event.step: event.value for event in events if isinstance(event, Evaluated)}


def newest(folder: Path) -> Checkpoint:
    path = latest_valid(folder)
    assert path is not None
    return load_checkpoint(path, with_optimizer=True)


def check_same(one: Path, other: Path, apart_from: frozenset[str] = frozenset()) -> None:
    """Weights, momenta, the place in the data and what is counted are equal to the last bit."""
    a, b = newest(one), newest(other)
    assert a.step == b.step
    assert a.state["loader"] == b.state["loader"]
    apart_from |= {"elapsed_s"}
    untimed = [{k: v for k, v in c.state["train"].items() if k not in apart_from} for c in (a, b)]
    assert untimed[0] == untimed[1]
    for left, right in ((a.model_state, b.model_state), (a.optimizer_state or {}, b.optimizer_state or {})):
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.mark.parametrize("stage", ["base", "sft"])
def test_two_processes_do_what_one_does_in_two_micro_steps(
    trained: dict[str, Any], toy_before: Any, stage: str
) -> None:
    _, alone = trained[stage]
    assert alone[0].machine["device_batch_size"] * 2 * 128 == 8 * 128
    toy = toy_before(stage)
    first, second = run_fleet(2, train, stage, toy.base, {})
    assert second == []  # the first process tells
    assert losses(first) == losses(alone)
    assert validations(first) == validations(alone)
    assert [event.tokens for event in first if isinstance(event, StepDone)][-1] == 6 * 1024
    check_same(toy.folder(stage), trained["toy"].folder(stage))
    assert is_finished(toy.folder(stage))


def test_a_stop_of_one_process_stops_all_and_they_go_on_exactly(trained: dict[str, Any], toy: Any) -> None:
    """Step 3 is one that is validated: that is made up for."""
    for rank, step in ((1, 3), (0, 5)):
        ends = run_fleet(2, train, "base", toy.base, {}, (rank, step))
        assert [type(end) for end in ends] == [Interrupted, Interrupted]
        assert f"step {step} of 6" in ends[0].message
        assert newest(toy.folder("base")).step == step
    events, _ = run_fleet(2, train, "base", toy.base, {})
    assert [event.resumed_from for event in events if isinstance(event, StageStarted)] == [5]
    alone = trained["base"][1]
    assert losses(events).items() <= losses(alone).items()
    # the stop made a checkpoint of step 3, so that one can be the best
    check_same(toy.folder("base"), trained["toy"].folder("base"), frozenset({"best_step", "best_bpb"}))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_of_one_process_in_a_validation_stops_all(toy: Any, rank: int) -> None:
    ends = run_fleet(2, train_and_stop_in_validation, toy.base, rank)
    assert [type(end) for end in ends] == [Interrupted, Interrupted]
    assert "step 3 of 6" in ends[0].message
    assert newest(toy.folder("base")).step == 3
    events, _ = run_fleet(2, train, "base", toy.base, {"device_batch_size": 1})
    assert list(validations(events)) == [3, 6]
    assert list(losses(events)) == [4, 5, 6]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stop_of_one_process_after_the_last_step_stops_all(toy: Any, rank: int) -> None:
    """A speedrun would else go on with its next stage."""
    ends = run_fleet(2, train_and_stop_at_the_end, toy.base, rank)
    assert [type(end) for end in ends] == [Interrupted, Interrupted]
    assert "step 6 of 6" in ends[0].message
    assert not is_finished(toy.folder("base"))
    run_fleet(2, train, "base", toy.base, {})
    assert is_finished(toy.folder("base"))


@pytest.mark.parametrize("after", [1, 3])
def test_a_run_goes_on_with_another_number_of_processes(toy: Any, tmp_path: Path, after: int) -> None:
    """12 rows a step, of which 1, 2 or 3 processes take equal parts; the matrices of a shape do not divide by 3."""
    changes = {"total_batch_size": 12 * 128, "device_batch_size": 2, "num_steps": 6, "save_every": 3}
    twin = tmp_path / "twin"
    shutil.copytree(toy.base, twin)
    whole, _ = run_fleet(2, train, "base", twin, changes)
    run_fleet(2, train, "base", toy.base, changes, (0, 3))
    events = run_fleet(after, train, "base", toy.base, changes)[0]
    assert [event.resumed_from for event in events if isinstance(event, StageStarted)] == [3]
    for step, loss in losses(events).items():
        assert loss == pytest.approx(losses(whole)[step], abs=2e-4)
    one, other = newest(toy.folder("base")), newest(twin / "models" / "toy" / "base")
    assert one.state["loader"] == other.state["loader"]
    assert (one.optimizer_state or {}).keys() == (other.optimizer_state or {}).keys()
    for name, weight in one.model_state.items():
        torch.testing.assert_close(weight, other.model_state[name], rtol=0, atol=5e-3)


def test_what_is_wrong_is_said_by_all(toy: Any) -> None:
    ends = run_fleet(3, train, "base", toy.base, {})
    assert [type(end) for end in ends] == [UsageError] * 3
    assert "divisible by device_batch_size * sequence_len * processes (4 * 128 * 3 = 1536)" in ends[0].message
    assert ends[0].hint == "try --total-batch-size 1536, or take 2 processes (--nproc 2 on one machine)"


@pytest.mark.parametrize("poor", [0, 1])
def test_the_process_with_the_least_memory_decides_on_rows(toy: Any, poor: int) -> None:
    """With other numbers of rows they would cut the validation into other batches, and add up what does not match."""
    free = [10**10, 10**10]
    free[poor] = 10**6
    ends = run_fleet(2, train_with_memory, toy.base, free)
    assert [type(end) for end in ends] == [list, list], ends
    (started,) = [event for event in ends[0] if isinstance(event, StageStarted)]
    assert started.machine["device_batch_size"] == 1
    assert list(validations(ends[0])) == [3, 6]


def test_all_begin_with_the_checkpoint_that_the_first_finds(trained: dict[str, Any], toy_before: Any) -> None:
    toy = toy_before("mid")
    stale = step_dirs(toy.folder("base"))[1]
    events, _ = run_fleet(2, train_behind, "mid", toy.base, stale)
    assert losses(events) == losses(trained["mid"][1])


def test_a_stage_that_is_done_is_passed_over_by_all(trained: dict[str, Any], toy_before: Any) -> None:
    toy = toy_before("mid")
    before = json.loads((toy.folder("base") / "finished.json").read_text())
    first, second = run_fleet(2, train, "base", toy.base, {})
    assert [event.skipped for event in first] == [True]
    assert second == []
    assert json.loads((toy.folder("base") / "finished.json").read_text()) == before


def test_only_the_first_process_writes(toy: Any) -> None:
    first, _ = run_fleet(2, train, "base", toy.base, {"num_steps": 2})
    folder = toy.folder("base")
    assert len([event for event in first if isinstance(event, CheckpointSaved)]) == 1
    assert len((folder / "events.jsonl").read_text().splitlines()) == len(first)
    assert len((folder / "samples.jsonl").read_text().splitlines()) == 4
    assert [path.name for path in step_dirs(folder)] == ["step_000002"]
    assert json.loads((folder / "config.json").read_text())["machine"]["processes"] == 2


def kept_scores(folder: Path) -> dict[str, Any]:
    """The tasks of every file of scores, without how long they took."""
    files = {path.name: json.loads(path.read_text())["tasks"] for path in folder.iterdir()}
    for tasks in files.values():
        for task in tasks.values():
            del task["elapsed_s"]
    return files


def test_processes_share_the_problems_of_a_task(trained: dict[str, Any], tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(trained["toy"].base, base)
    right = [number in (0, 1, 4, 5, 9) for number in range(11)]  # three of the first one's, two of the other's
    tasks = f"choice,{type(trained['toy'])(base).questions(right, 8)}"
    alone = score(ALONE, base, tasks, 11)
    assert alone[1].correct == 5
    folder = base / "models/asked/mid/eval"
    kept = kept_scores(folder)
    assert kept.keys() == {"pocket.json", "files.json"}
    shutil.rmtree(folder)
    assert run_fleet(2, score, base, tasks, 11) == [alone, alone]
    assert kept_scores(folder) == kept
