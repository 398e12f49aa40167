"""What mid and sft train on: pocket, files, or both; held out, remembered, refused when changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.config.train import MidTrainConfig, SftConfig
from nanochat.errors import ConversationError, Interrupted, MissingError, UsageError
from nanochat.pocket.conversations import KINDS
from nanochat.runtime.events import Event, Notice, StageStarted, StepDone
from nanochat.runtime.paths import Paths
from nanochat.stages.conversations import (
    SHARES,
    ChatData,
    Stage,
    file_hashes,
    open_chat_data,
    pocket_validation,
)
from nanochat.tasks.mixture import Mixture
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tokenizer.render import render


def write(path: Path, count: int, word: str = "number") -> Path:
    lines = (json.dumps([f"Which {word} is {at}?", f"It is {word} {at}."]) for at in range(count))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def opened(tmp_path: Path, data: str, stage: Stage = "sft", **settings: Any) -> ChatData:
    config = (SftConfig if stage == "sft" else MidTrainConfig)(data=data, **{"conversations": 100, **settings})
    return open_chat_data(stage, config, Paths(base=tmp_path, cache=tmp_path / "cache"), file_hashes(config))


# pocket alone


@pytest.mark.parametrize("stage", ["mid", "sft"])
def test_the_mixture_keeps_the_shares_of_the_stage(stage: Stage, tmp_path: Path) -> None:
    data = opened(tmp_path, "pocket", stage, conversations=500, seed=1)
    shares = SHARES[stage]
    assert abs(len(data.train) - 500) <= len(shares)
    assert data.train.counts.keys() == shares.keys() == set(KINDS)
    for name, share in shares.items():
        assert data.train.counts[name] == max(1, round(500 * share / sum(shares.values())))


@pytest.mark.parametrize("stage", ["mid", "sft"])
def test_without_files_nothing_is_different(stage: Stage, tmp_path: Path) -> None:
    data = opened(tmp_path, "pocket", stage, seed=3)
    shares = SHARES[stage]
    sizes = {name: max(1, round(100 * share / sum(shares.values()))) for name, share in shares.items()}
    tasks = pocket_tasks("train", sizes=sizes, seed=["mid", "sft"].index(stage))
    assert list(data.train) == list(Mixture([(task, None) for task in tasks.values()], seed=3))
    assert list(data.validation) == pocket_validation()
    assert data.record == {"name": "pocket", "conversations": len(data.train), "mixture": data.train.counts}


def test_order_follows_the_seed_and_each_stage_has_its_own_conversations(tmp_path: Path) -> None:
    def texts(stage: Stage, seed: int) -> list[str]:
        return [str(conversation) for conversation in opened(tmp_path, "pocket", stage, seed=seed).train]

    assert texts("mid", 1) == texts("mid", 1)
    assert texts("mid", 1) != texts("mid", 2)
    assert sorted(texts("mid", 1)) == sorted(texts("mid", 2))
    assert len(set(texts("mid", 1)) & set(texts("sft", 1))) < 30


def test_twice_as_much_pocket(tmp_path: Path) -> None:
    assert opened(tmp_path, "pocket:2", conversations=50).train.counts == opened(tmp_path, "pocket").train.counts


# files


def test_a_file_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", 100)
    data = opened(tmp_path, str(path))
    assert (len(data.train), len(data.validation)) == (95, 5)
    assert len({*data.train, *data.validation}) == 100
    assert data.notices == ()
    assert data.lines == (f"{path}: 100 conversations, 95 to train on, 5 held out",)
    (file,) = data.record["files"].values()
    assert (file["conversations"], file["times"], file["held_out"], file["train"]) == (100, 1, 5, 95)
    assert len(file["sha256"]) == 64


def test_pocket_and_a_file_three_times(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", 40)
    data = opened(tmp_path, f"pocket,{path}:3")
    alone = opened(tmp_path, "pocket")
    assert len(data.train) == len(alone.train) + 3 * 38
    times = Counter(str(conversation) for conversation in data.train if "Which number" in str(conversation))
    assert set(times.values()) == {3}
    assert len(times) == 38
    assert list(data.validation)[:-2] == pocket_validation()
    assert list(data.train) == list(opened(tmp_path, f"pocket,{path}:3").train)
    assert list(data.train) != list(opened(tmp_path, f"pocket,{path}:3", seed=9).train)


def test_what_one_file_holds_out_no_other_trains_on(tmp_path: Path) -> None:
    small, large = write(tmp_path / "small.jsonl", 20), write(tmp_path / "large.jsonl", 400)
    data = opened(tmp_path, f"{small},{large}")
    assert not set(data.train) & set(data.validation)
    assert len({*data.train, *data.validation}) == 400


def test_validation_of_ones_own(tmp_path: Path) -> None:
    path, val = write(tmp_path / "mine.jsonl", 100), write(tmp_path / "val.jsonl", 3)
    data = opened(tmp_path, f"pocket,{path}", val_data=str(val))
    assert len(data.validation) == 3
    assert not set(data.train) & set(data.validation)  # the two files have three in common
    assert len(opened(tmp_path, str(path), val_data=f"pocket,{val}").validation) == 3 + len(pocket_validation())
    long = write(tmp_path / "long.jsonl", 1000, "letter")
    data = opened(tmp_path, str(path), val_data=str(long))
    assert len(data.validation) == 200
    assert "validating on 200 of its 1,000 conversations" in data.notices[0]
    with pytest.raises(UsageError, match="is for validation too"):
        opened(tmp_path, str(val), val_data=str(path))


def test_a_few_conversations_are_all_trained_on(tmp_path: Path) -> None:
    data = opened(tmp_path, str(write(tmp_path / "few.jsonl", 4)))
    assert (len(data.train), len(data.validation)) == (4, 4)
    assert "too few" in data.notices[0]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('["q", "a"]\n["q"]\n')
    with pytest.raises(ConversationError, match="line 2: there is no answer"):
        opened(tmp_path, f"pocket,{tmp_path / 'bad.jsonl'}")
    with pytest.raises(MissingError, match="there is no file"):
        opened(tmp_path, f"{tmp_path / 'none.jsonl'}:2")
    with pytest.raises(UsageError, match="is a folder"):
        opened(tmp_path, str(tmp_path))


# in a run


def notices(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Notice) and event.level == "warning"]


@pytest.mark.parametrize("stage", ["mid", "sft"])
def test_a_stopped_run_on_a_file_goes_on_as_if_it_had_not_been(
    stage: str, toy_before: Callable[[str], Any], tmp_path: Path
) -> None:
    toy = toy_before(stage)
    path = write(tmp_path / "mine.jsonl", 60)
    data = {"data": f"pocket,{path}:2", "source": "toy:base", "conversations": 60}
    whole, events = toy.train(stage, tag="whole", **data)

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        toy.train(stage, stop, **data)
    result, resumed = toy.train(stage, **data)
    losses = [event.loss for event in events if isinstance(event, StepDone)]
    again = [event.loss for event in resumed if isinstance(event, StepDone)]
    assert len(again) < len(losses)
    assert losses[-len(again) :] == again
    paths = [latest_valid(folder) for folder in (whole.folder, result.folder)]
    states = [load_checkpoint(path).model_state for path in paths if path]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert toy.train(stage, **data)[0].skipped
    # other content is refused, before and after the run has ended
    write(path, 61)
    with pytest.raises(UsageError, match=f"has changed since toy:{stage} was begun with it"):
        toy.train(stage, **data)
    with pytest.raises(UsageError, match="was begun with data"):
        toy.train(stage, source="toy:base", conversations=60)
    write(path, 60)
    assert toy.train(stage, **data)[0].skipped


def test_steps_follow_the_lengths_in_the_file(toy_before: Callable[[str], Any], tmp_path: Path) -> None:
    toy = toy_before("mid")
    path = write(tmp_path / "mine.jsonl", 400)
    _, events = toy.train("mid", data=str(path), num_steps=0, eval_every=0, save_every=0)
    tokens = len(
        render(load_checkpoint(toy.folder("base") / "step_000006").tokenizer, opened(tmp_path, str(path)).train[0])[0]
    )
    (started,) = [event for event in events if isinstance(event, StageStarted)]
    assert started.total_steps == pytest.approx(380 * tokens / 1024, rel=0.2)
    assert notices(events) == []


def test_killed_while_it_reads_a_file_nothing_is_left(tmp_path: Path) -> None:
    """An unpacked file has no name, so there is nothing to tidy up after kill -9."""
    import gzip

    path = tmp_path / "mine.jsonl.gz"
    path.write_bytes(gzip.compress(write(tmp_path / "plain.jsonl", 2000).read_bytes()))
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom nanochat.tasks.files import ConversationFile\n"
        "file = ConversationFile(Path(sys.argv[1]), Path(sys.argv[2]))\nassert len(file) == 2000\nassert file[1999]\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "cache")], check=False, capture_output=True
    )
    assert done.returncode == -9, done.stderr
    assert list((tmp_path / "cache").iterdir()) == []
