"""What every training stage promises: events, folders, stopping, going on, being killed, being damaged."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from nanochat.checkpoints.layout import is_finished, step_dirs
from nanochat.checkpoints.store import Checkpoint, latest_valid, load_checkpoint
from nanochat.errors import DivergedError, Interrupted, MissingError, UsageError
from nanochat.runtime.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Notice,
    Sampled,
    StageFinished,
    StageStarted,
    StepDone,
    read_events,
)

STAGES = ("base", "mid", "sft")
SAMPLES = {"base": 4, "mid": 8, "sft": 8}  # four prompts at the end; in mid and sft at every validation


def warnings(events: list[Event]) -> list[Notice]:
    """What a person should see to; which kernels are used is told too, but is no warning."""
    return [event for event in events if isinstance(event, Notice) and event.level == "warning"]


def newest(folder: Path) -> Checkpoint:
    path = latest_valid(folder)
    assert path is not None
    return load_checkpoint(path, with_optimizer=True)


def losses(events: list[Event]) -> dict[int, float]:
    return {event.step: event.loss for event in events if isinstance(event, StepDone)}


def check_same_model(one: Path, other: Path) -> None:
    """Weights, momenta and the place in the data are equal to the last bit."""
    a, b = newest(one), newest(other)
    assert a.step == b.step
    assert a.state["loader"] == b.state["loader"]
    untimed = [{k: v for k, v in c.state["train"].items() if k != "elapsed_s"} for c in (a, b)]
    assert untimed[0] == untimed[1]
    assert a.optimizer_state is not None
    assert b.optimizer_state is not None
    for left, right in ((a.model_state, b.model_state), (a.optimizer_state, b.optimizer_state)):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)


def stop_at(step: int) -> Callable[[Event], None]:
    def on_event(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    return on_event


@pytest.mark.parametrize("stage", STAGES)
class TestOneGo:
    def test_what_is_told(self, trained: dict[str, Any], stage: str) -> None:
        result, events = trained[stage]
        kinds = [type(event) for event in events]
        assert kinds[0] is StageStarted
        assert kinds[-1] is StageFinished
        assert events[0].resumed_from is None
        assert events[0].total_steps == 6
        assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3, 4, 5, 6]
        assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [2, 4, 6]
        assert [event.step for event in events if isinstance(event, Evaluated)] == [3, 6]
        assert kinds.count(Sampled) == SAMPLES[stage]
        assert all(math.isfinite(loss) for loss in losses(events).values())
        assert not warnings(events)
        assert (result.summary["step"], result.summary["tokens"]) == (6, 6 * 1024)
        assert not result.skipped

    def test_what_is_kept(self, trained: dict[str, Any], stage: str) -> None:
        result, events = trained[stage]
        folder = trained["toy"].folder(stage)
        assert result.folder == folder
        assert [path.name for path in step_dirs(folder)] == ["step_000006", "step_000004"]
        assert is_finished(folder)
        logged = read_events(folder / "events.jsonl")
        assert [record["event"] for record in logged] == [type(event).__name__ for event in events]
        assert len((folder / "samples.jsonl").read_text().splitlines()) == SAMPLES[stage]
        checkpoint = newest(folder)
        assert checkpoint.model_config.n_layer == 2
        assert checkpoint.tokenizer.vocab_size == 512


def test_whether_to_go_on_may_be_said(trained: dict[str, Any], toy: Any) -> None:
    with pytest.raises(MissingError, match="toy:base has no whole checkpoint to go on from"):
        toy.train("base", resume="require")
    result, _ = toy.train("base", resume="never", num_steps=2)
    for _ in range(2):
        with pytest.raises(UsageError, match="toy:base has been begun before"):
            toy.train("base", resume="never", num_steps=2)
        (result.folder / "finished.json").unlink(missing_ok=True)  # it need not be done
    result, events = toy.train("base", resume="require", num_steps=2)
    assert not result.skipped
    assert [event.resumed_from for event in events if isinstance(event, StageStarted)] == [2]


def test_weights_that_are_no_numbers_are_never_saved(trained: dict[str, Any], toy: Any, monkeypatch: Any) -> None:
    """Gradients may overflow under a loss that is finite: the next loss tells, but the checkpoint would be lost."""
    from nanochat.training.optimizer import Optimizer

    step = Optimizer.step

    def overflow(self: Optimizer, **dials: Any) -> None:
        step(self, **dials)
        if self.steps == 4:
            with torch.no_grad():
                next(iter(self.groups[-1].params.values()))[0, 0] = math.inf

    monkeypatch.setattr(Optimizer, "step", overflow)
    with pytest.raises(DivergedError, match="not finite after step 4") as caught:
        toy.train("base")
    assert "the last good checkpoint is toy:base@2" in caught.value.hint
    assert [path.name for path in step_dirs(toy.folder("base"))] == ["step_000002"]


def test_losses_begin_at_a_uniform_guess_and_fall(trained: dict[str, Any]) -> None:
    values = losses(trained["base"][1])
    assert values[1] == pytest.approx(math.log(512), abs=0.02)
    assert values[6] < values[1]
    assert losses(trained["mid"][1])[1] < math.log(512)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("step", [1, 4])
def test_stopped_and_resumed_is_as_if_never_stopped(
    trained: dict[str, Any], toy_before: Callable[[str], Any], stage: str, step: int
) -> None:
    toy = toy_before(stage)
    first: list[Event] = []
    with pytest.raises(Interrupted) as caught:
        toy.train(stage, lambda event: (first.append(event), stop_at(step)(event)))
    assert caught.value.exit_code == 75
    assert f"step {step} of 6" in caught.value.message
    assert not is_finished(toy.folder(stage))
    assert newest(toy.folder(stage)).step == step

    _, second = toy.train(stage)
    assert second[0].resumed_from == step
    assert losses(first) | losses(second) == losses(trained[stage][1])
    check_same_model(toy.folder(stage), trained["toy"].folder(stage))
    steps = [
        record["step"] for record in read_events(toy.folder(stage) / "events.jsonl") if record["event"] == "StepDone"
    ]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_a_resumed_run_holds_no_checkpoint(trained: dict[str, Any], toy_before: Callable[[str], Any]) -> None:
    """Its room on the disk would not be free when it is pruned."""
    toy = toy_before("mid")
    mapped: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, StepDone):
            lines = Path("/proc/self/maps").read_text().splitlines()
            mapped.extend(line for line in lines if str(toy.base) in line and ".safetensors" in line)

    (toy.folder("base") / "finished.json").unlink()
    shutil.rmtree(toy.folder("base") / "step_000006")
    for stage in ("base", "mid"):
        toy.train(stage, listen)
    assert mapped == []


def test_handlers_are_given_back(toy: Any) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted):
        toy.train("base", stop_at(1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("stage", STAGES)
def test_smaller_device_batches_learn_the_same(
    trained: dict[str, Any], toy_before: Callable[[str], Any], stage: str
) -> None:
    """Normalised by the whole step's targets, so only rounding differs."""
    toy = toy_before(stage)
    _, events = toy.train(stage, device_batch_size=1, num_steps=6)
    theirs = losses(trained[stage][1])
    for step, loss in losses(events).items():
        assert loss == pytest.approx(theirs[step], rel=2e-3)
    assert losses(events)[1] == pytest.approx(theirs[1], rel=1e-6)


@pytest.mark.parametrize("stage", STAGES)
def test_a_finished_stage_is_passed_over(trained: dict[str, Any], toy_before: Callable[[str], Any], stage: str) -> None:
    toy = toy_before(stage)
    shutil.copytree(trained["toy"].folder(stage), toy.folder(stage))
    before = (toy.folder(stage) / "events.jsonl").read_bytes()
    result, events = toy.train(stage, eval_every=1, threads=0)  # settings that may differ
    assert result.skipped
    assert result.summary == trained[stage][0].summary
    assert [type(event) for event in events] == [StageFinished]
    assert events[0].skipped
    assert (toy.folder(stage) / "events.jsonl").read_bytes() == before


def test_other_settings_are_refused_and_nothing_is_touched(trained: dict[str, Any]) -> None:
    toy = trained["toy"]
    files = sorted(path for path in toy.base.rglob("*") if path.name != ".lock")
    for stage, change in (
        ("base", {"depth": 3}),
        ("base", {"seed": 1}),
        ("mid", {"num_steps": 7}),
        ("sft", {"lr_scale": 0.1}),
    ):
        (name,) = change
        with pytest.raises(UsageError, match=f"toy:{stage} was begun with {name}") as caught:
            toy.train(stage, **change)
        assert "--tag" in caught.value.hint
    assert sorted(path for path in toy.base.rglob("*") if path.name != ".lock") == files


def test_another_tokenizer_is_refused_on_resume(toy: Any) -> None:
    from nanochat.config.data import TokenizerConfig
    from nanochat.stages.prepare import make_tokenizer

    with pytest.raises(Interrupted):
        toy.train("base", stop_at(2))
    make_tokenizer(TokenizerConfig(vocab_size=500), toy.context, lambda event: None)
    with pytest.raises(UsageError, match="another tokenizer"):
        toy.train("base")


def damage(step_dir: Path, name: str = "model.safetensors") -> None:
    path = step_dir / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(trained: dict[str, Any], toy: Any, name: str) -> None:
    with pytest.raises(Interrupted):
        toy.train("base", stop_at(4))
    damage(toy.folder("base") / "step_000004", name)
    _, events = toy.train("base")
    (notice,) = warnings(events)
    assert name in notice.message
    assert "step_000004" in notice.message
    (started,) = [event for event in events if isinstance(event, StageStarted)]
    assert started.resumed_from == 2
    check_same_model(toy.folder("base"), trained["toy"].folder("base"))


def test_a_finished_stage_whose_last_checkpoint_is_damaged_is_mended(trained: dict[str, Any], toy: Any) -> None:
    shutil.copytree(trained["toy"].folder("base"), toy.folder("base"))
    damage(toy.folder("base") / "step_000006")
    result, events = toy.train("base")
    assert not result.skipped
    assert [event.step for event in events if isinstance(event, StepDone)] == [5, 6]
    check_same_model(toy.folder("base"), trained["toy"].folder("base"))


def test_every_checkpoint_damaged_begins_anew(trained: dict[str, Any], toy: Any) -> None:
    shutil.copytree(trained["toy"].folder("base"), toy.folder("base"))
    for step_dir in step_dirs(toy.folder("base")):
        damage(step_dir)
    _, events = toy.train("base")
    assert losses(events) == losses(trained["base"][1])
    check_same_model(toy.folder("base"), trained["toy"].folder("base"))


def test_killed_between_the_last_checkpoint_and_the_mark(trained: dict[str, Any], toy: Any) -> None:
    shutil.copytree(trained["toy"].folder("base"), toy.folder("base"))
    (toy.folder("base") / "finished.json").unlink()
    result, events = toy.train("base")
    assert losses(events) == {}
    assert result.summary["val_bpb"] == trained["base"][0].summary["val_bpb"]
    assert is_finished(toy.folder("base"))


class TestNotANumber:
    def nan_from(self, monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
        """Losses of these calls (two a step, from 1) are NaN."""
        import nanochat.stages.run as module

        real, calls = module.compiled_loss, iter(range(1, 10_000))

        def compiled_loss(*args: Any, **options: Any) -> Callable[..., torch.Tensor]:
            loss = real(*args, **options)
            return lambda ids, targets: loss(ids, targets) * (math.nan if next(calls) in bad else 1.0)

        monkeypatch.setattr(module, "compiled_loss", compiled_loss)

    def test_diverged(self, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nan_from(monkeypatch, set(range(5, 100)))
        events: list[Event] = []
        with pytest.raises(DivergedError) as caught:
            toy.train("base", events.append)
        assert caught.value.exit_code == 5
        assert "step 5" in caught.value.message
        assert "--matrix-lr" in caught.value.hint
        assert len(warnings(events)) == 3
        checkpoint = newest(toy.folder("base"))
        assert all(torch.isfinite(tensor).all() for tensor in checkpoint.model_state.values())

    def test_one_bad_step_is_left_out(self, toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.nan_from(monkeypatch, {6})
        result, events = toy.train("base")
        (notice,) = warnings(events)
        assert "step 3" in notice.message
        assert math.isfinite(result.summary["train_loss"])
        assert all(torch.isfinite(tensor).all() for tensor in newest(toy.folder("base")).model_state.values())


def test_two_at_once_are_refused(toy: Any) -> None:
    folder = toy.folder("base")
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"), pytest.raises(UsageError, match="another process is training toy:base"):
        toy.train("base")


@pytest.mark.parametrize(("stage", "needs"), [("mid", "base"), ("sft", "mid")])
def test_the_stage_before_is_missing(toy_before: Callable[[str], Any], stage: str, needs: str) -> None:
    toy = toy_before(needs)
    with pytest.raises(MissingError) as caught:
        toy.train(stage)
    assert caught.value.exit_code == 3
    assert caught.value.hint.startswith("nanochat ")
    assert not step_dirs(toy.folder(stage))


KILLED_RUN = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from nanochat.config.train import BaseTrainConfig
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.stages.pretrain import pretrain

base = Path(sys.argv[1])
config = BaseTrainConfig(**eval(sys.argv[2]))
context = RunContext(paths=Paths(base=base, cache=base), device="cpu", dtype="float32", compile=False, threads=1)
pretrain(config, context, lambda event: print(type(event).__name__, flush=True))
"""


def test_killed_at_random_moments_it_still_ends_with_the_same_model(toy: Any) -> None:
    changes = {"save_every": 1, "num_steps": 40, "eval_every": 0, "eval_tokens": 128}
    settings = dataclasses.asdict(toy.config("base", **changes))
    command = [sys.executable, "-c", KILLED_RUN, str(toy.base), repr(settings)]
    dice = random.Random(time.time_ns())
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "StageStarted"
            time.sleep(dice.uniform(0.01, 0.5))
            process.kill()
    toy.train("base", **changes)
    folder = toy.folder("base")
    assert is_finished(folder)
    assert newest(folder).step == 40
    assert [path.name for path in folder.iterdir() if path.name.startswith(".step")] == []
    straight, _ = toy.train("base", **{**changes, "save_every": 0}, tag="straight")
    check_same_model(folder, straight.folder)
