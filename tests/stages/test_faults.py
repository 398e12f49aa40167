"""Real runs that are killed, run out of room or are asked to stop: they go on by themselves and end as if nothing were.

Kills are few here; scripts/soak-faults makes 200.
"""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import Disk
from runs import Command, Run, Server, ended, wait_for_bytes

from nanochat.checkpoints.layout import is_finished, step_dirs, step_of
from nanochat.checkpoints.selector import resolve
from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.errors import Interrupted, StorageError
from nanochat.runtime.events import CheckpointSaved, Evaluated, Event, Notice, StageStarted, StepDone, read_events
from nanochat.stages import run as stage_run
from nanochat.stages import validate

KILLS = int(os.environ.get("NANOCHAT_SOAK_KILLS", "4"))
SEED = int(os.environ.get("NANOCHAT_SOAK_SEED", str(time.time_ns())))
STEPS = 60
TRAIN = (
    "train base --tag toy --depth 1 --head-dim 32 --aspect-ratio 32 --sequence-len 64 --device-batch-size 4"
    f" --total-batch-size 256 --num-steps {STEPS} --save-every 3 --eval-every 10 --eval-tokens 512"
    " --device cpu --dtype float32 --compile off --threads 1"
).split()


def command(base: Path) -> list[str]:
    return ["--base-dir", str(base), *TRAIN]


def folder_of(base: Path) -> Path:
    return base / "models" / "toy" / "base"


def log_of(base: Path) -> list[dict[str, Any]]:
    return read_events(folder_of(base) / "events.jsonl")


def same_tensors(one: Path, other: Path) -> bool:
    """Weights and momenta of two stages, in their newest checkpoints."""
    loaded = []
    for folder in (one, other):
        newest = latest_valid(folder)
        assert newest is not None
        checkpoint = load_checkpoint(newest, with_optimizer=True)
        loaded.append(checkpoint.model_state | (checkpoint.optimizer_state or {}))
    return all(torch.equal(loaded[0][name], loaded[1][name]) for name in loaded[0] | loaded[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def straight(
    prepared: Path, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[int, float], float]:
    """A run that nobody disturbed: its installation, its losses, and seconds from its first event to the last."""
    base = tmp_path_factory.mktemp("straight") / "base"
    shutil.copytree(prepared, base)
    assert ended(server.start(command(base))) == 0
    events = log_of(base)
    losses = {event["step"]: event["loss"] for event in events if event["event"] == "StepDone"}
    assert len(losses) == STEPS
    return base, losses, events[-1]["time"] - events[0]["time"]


@pytest.mark.timeout(0 if KILLS > 20 else 300)
def test_killed_at_random_moments(
    prepared: Path, straight: tuple[Path, dict[int, float], float], server: Server, tmp_path: Path
) -> None:
    """After each kill the newest whole checkpoint is that of the last `CheckpointSaved`, or a later one."""
    undisturbed, losses, seconds = straight
    base = tmp_path / "base"
    shutil.copytree(prepared, base)
    dice = random.Random(SEED)
    kills = runs = resumed = 0
    while kills < KILLS:
        before = len(log_of(base))
        path = folder_of(base) / "events.jsonl"
        size = path.stat().st_size if path.exists() else 0
        run = Command(command(base), tmp_path / "said.txt") if kills % 10 == 9 else server.start(command(base))
        wait_for_bytes(run, path, size)
        if run.wait(dice.uniform(0, seconds / 2)) is None:
            run.send(signal.SIGKILL)
            kills += ended(run) == -9
        saved = [event["step"] for event in log_of(base) if event["event"] == "CheckpointSaved"]
        newest = latest_valid(folder_of(base))
        assert (step_of(newest) if newest else 0) >= max(saved, default=0), f"seed {SEED}"
        began = [event for event in log_of(base)[before:] if event["event"] == "StageStarted"]
        resumed += sum(event["resumed_from"] is not None for event in began)
        if is_finished(folder_of(base)) or kills == KILLS:
            assert ended(server.start(command(base))) == 0
            runs += 1
            done = [event for event in log_of(base) if event["event"] == "StepDone"]
            assert {event["step"] for event in done} == set(losses)
            assert all(event["loss"] == losses[event["step"]] for event in done), f"seed {SEED}"
            assert same_tensors(folder_of(base), folder_of(undisturbed))
            assert [path.name for path in folder_of(base).iterdir() if path.name.startswith(".step")] == []
            shutil.rmtree(base / "models")
    print(f"seed {SEED}: {kills} kills in {runs} runs, {resumed} of them followed by a resume")


FINE_TUNE = "--total-batch-size 1024 --eval-tokens 1024 --conversations 200"
CHAT_STAGES = {
    "sft": f"sft {FINE_TUNE}",
    "preferences with adapters": f"sft {FINE_TUNE} --preferences pairs.jsonl --lora-rank 4",
    "rl": "rl --task spelling --reward format,length --examples 3 --samples 4 --max-tokens 8 --updates 2 --kl 0.1"
    " --eval-problems 4 --eval-samples 2",
}


@pytest.mark.parametrize("what", CHAT_STAGES)
def test_a_chat_stage_that_is_killed_goes_on_exactly(
    trained: dict[str, Any], server: Server, tmp_path: Path, what: str
) -> None:
    base = Path(shutil.copytree(trained["toy"].base, tmp_path / "base"))
    pairs = tmp_path / "pairs.jsonl"
    lines = ({"prompt": f"Say {n}.", "chosen": "Yes.", "rejected": f"No, not {n}."} for n in range(60))
    pairs.write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage, *words = CHAT_STAGES[what].replace("pairs.jsonl", str(pairs)).split()
    shared = (
        f"--from toy:{'mid' if stage == 'sft' else 'sft'} --num-steps 9 --save-every 2 --eval-every 4"
        " --device-batch-size 4 --device cpu --dtype float32 --compile off --threads 1"
    ).split()

    def start(tag: str) -> Run:
        return server.start(["--base-dir", str(base), "train", stage, *words, *shared, "--tag", tag])

    def log(tag: str, kind: str) -> list[dict[str, Any]]:
        events = read_events(base / "models" / tag / stage / "events.jsonl")
        return [event for event in events if event["event"] == kind]

    assert ended(start("whole")) == 0
    path = base / "models" / "killed" / stage / "events.jsonl"
    run = start("killed")
    while len(log("killed", "CheckpointSaved")) < 2:
        wait_for_bytes(run, path, path.stat().st_size if path.exists() else 0)
        assert run.wait(0) is None, run.said()  # else it would be waited for without end
    run.send(signal.SIGKILL)
    assert ended(run) == -9
    assert ended(start("killed")) == 0
    first, second = (event["resumed_from"] for event in log("killed", "StageStarted"))
    assert first is None
    assert 4 <= second < 9
    whole, killed = ({(e["step"], e["loss"]) for e in log(tag, "StepDone")} for tag in ("whole", "killed"))
    assert whole == killed
    assert same_tensors(*(base / "models" / tag / stage for tag in ("whole", "killed")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signals_to_a_real_run(prepared: Path, server: Server, tmp_path: Path, number: signal.Signals) -> None:
    base = tmp_path / "base"
    shutil.copytree(prepared, base)
    run = Command(command(base), tmp_path / "said.txt") if number == signal.SIGINT else server.start(command(base))
    wait_for_bytes(run, folder_of(base) / "events.jsonl", 4000)  # StageStarted and some steps
    run.send(number)
    assert ended(run) == 75
    last = log_of(base)[-1]
    assert last["event"] == "CheckpointSaved"
    assert f"stopped after step {last['step']} of {STEPS}" in run.said()
    newest = latest_valid(folder_of(base))
    assert newest is not None
    assert step_of(newest) == last["step"] < STEPS


def test_killed_while_the_last_save_prunes(trained: dict[str, Any], toy: Any) -> None:
    """No save follows that would clear up."""
    folder = toy.folder("base")
    shutil.copytree(trained["toy"].folder("base"), folder)
    (folder / "finished.json").unlink()
    shutil.copytree(folder / "step_000004", folder / ".step_000002.gone-99999999")
    toy.train("base")
    assert [path.name for path in folder.iterdir() if path.name.startswith(".step")] == []
    assert is_finished(folder)


class TestValidationCutShort:
    """Stopped in the second batch of the validation of step 3."""

    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.signal_at = 0
        real = validate.tallies

        def counted(model: Any, batches: Iterator[Any], token_bytes: Any) -> Iterator[Any]:
            def watched() -> Iterator[Any]:
                for batch in batches:
                    self.batches.append(len(batch[0]))
                    if len(self.batches) == self.signal_at:
                        signal.raise_signal(signal.SIGTERM)
                    yield batch

            return real(model, watched(), token_bytes)

        monkeypatch.setattr(validate, "tallies", counted)

    @pytest.mark.parametrize("step", [3, 6])
    def test_it_stops_soon_and_is_made_up_for(self, trained: dict[str, Any], toy: Any, step: int) -> None:
        settings = {"eval_every": 3, "save_every": 3, "device_batch_size": 1, "tag": "toy"}
        _, plain = toy.train("base", **{**settings, "tag": "plain"})
        per_validation = len(self.batches) // 2
        assert per_validation > 4
        self.batches.clear()
        self.signal_at = 2 if step == 3 else per_validation + 2
        first: list[Event] = []
        with pytest.raises(Interrupted, match=f"step {step} of 6"):
            toy.train("base", first.append, **settings)
        assert len(self.batches) == self.signal_at  # not one more
        assert any(isinstance(event, CheckpointSaved) and event.step == step for event in first)
        result, second = toy.train("base", **settings)

        def kept(events: list[Event]) -> list[Event]:
            return [event for event in events if isinstance(event, Evaluated)]

        assert kept(first) + kept(second) == kept(plain)
        assert kept(second)[0].step == step  # type: ignore[attr-defined]
        other = toy.base / "models" / "plain" / "base"
        assert same_tensors(result.folder, other)
        summary = json.loads((other / "finished.json").read_text())
        for name in ("val_bpb", "best_step", "best_bpb", "train_loss"):
            assert result.summary[name] == summary[name]
        assert resolve(toy.context.paths, "toy:base@best") == result.folder / f"step_{summary['best_step']:06d}"


def train_on(toy: Any, disk: Disk, **changes: Any) -> tuple[StorageError, list[Event]]:
    """A run on a disk that fails: how it ended."""
    events: list[Event] = []
    with disk.in_use(), pytest.raises(StorageError) as caught:
        toy.train("base", events.append, **changes)
    return caught.value, events


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_save_that_fails_ends_the_run_with_what_is_kept(trained: dict[str, Any], toy: Any, number: int) -> None:
    """On the thread that saves, from step 4 on."""
    folder = toy.folder("base")
    error, events = train_on(toy, Disk(folder / f".step_000004.tmp-{os.getpid()}", 3, number, lasting=True))
    assert os.strerror(number) in error.message
    assert "\n" not in error.message + error.hint
    assert error.hint.endswith("the same command goes on from step 2")
    assert [event.step for event in events if isinstance(event, CheckpointSaved)] == [2]
    assert [path.name for path in step_dirs(folder)] == ["step_000002"]
    _, events = toy.train("base")
    assert next(event.resumed_from for event in events if isinstance(event, StageStarted)) == 2
    assert same_tensors(folder, trained["toy"].folder("base"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_folder_that_takes_nothing_from_the_start(toy: Any, number: int) -> None:
    error, events = train_on(toy, Disk(toy.base / "models", 1, number, lasting=True))
    assert os.strerror(number) in error.message
    assert error.hint
    assert not any(isinstance(event, StepDone) for event in events)


@pytest.fixture
def small_disk(prepared: Path, tmp_path: Path) -> Iterator[Path]:
    """An installation on a file system of 64 MB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)], check=False, capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here ({mounted.stderr.strip()})")
    try:
        shutil.copytree(prepared, place / "base")
        yield place / "base"
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_real_disk_that_is_full(
    small_disk: Path, straight: tuple[Path, dict[int, float], float], server: Server
) -> None:
    undisturbed, losses, _ = straight
    newest = latest_valid(folder_of(undisturbed))
    assert newest is not None
    size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    free = shutil.disk_usage(small_disk).free
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(int(free - 1.7 * size)))  # one checkpoint fits, two do not
    run = server.start(command(small_disk))
    assert ended(run) == 1
    error, hint = run.said().splitlines()[-2:]
    assert error.startswith("error: ")
    assert error.endswith("No space left on device")
    assert "the same command goes on from step" in hint
    saved = latest_valid(folder_of(small_disk))
    assert saved is not None
    assert [path.name for path in folder_of(small_disk).iterdir() if path.name.startswith(".step")] == []
    ballast.unlink()
    assert ended(server.start(command(small_disk))) == 0
    events = log_of(small_disk)
    assert all(event["loss"] == losses[event["step"]] for event in events if event["event"] == "StepDone")
    assert [event["resumed_from"] for event in events if event["event"] == "StageStarted"] == [None, step_of(saved)]
    assert same_tensors(folder_of(small_disk), folder_of(undisturbed))


def test_a_real_folder_that_is_read_only(small_disk: Path, server: Server) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk.parent)], check=True)
    run = server.start(command(small_disk))
    assert ended(run) == 1
    error, hint = run.said().splitlines()[-2:]
    assert error.startswith("error: ")
    assert error.endswith("Read-only file system")
    assert hint.startswith("hint: ")


def test_a_loss_that_is_no_number_names_the_row_groups_of_its_rows(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = stage_run.compiled_loss, iter(range(1, 10_000))

    def compiled_loss(*args: Any, **options: Any) -> Callable[..., torch.Tensor]:
        loss = real(*args, **options)
        return lambda ids, targets: loss(ids, targets) * (math.nan if next(calls) == 5 else 1.0)

    monkeypatch.setattr(stage_run, "compiled_loss", compiled_loss)
    _, events = toy.train("base")
    (said,) = [event.message for event in events if isinstance(event, Notice) and "nan" in event.message]
    assert "its rows are from row group 0 of pocket/shard_0000" in said
