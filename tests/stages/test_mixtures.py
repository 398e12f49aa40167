"""Mixtures with tasks of the hub: what is trained on, what is validated on, and what the default is."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from nanochat.config.train import MidTrainConfig, SftConfig
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.paths import Paths
from nanochat.stages.conversations import ChatData, Stage, file_hashes, open_chat_data, pocket_validation, settle_data
from nanochat.tasks.hub import Places
from nanochat.tasks.registry import open_task

CAPITALS = """
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation, Message

class Numbers(Task):
    name = "numbers"
    def __len__(self):
        return 100
    def __getitem__(self, index):
        return Conversation((Message.text("user", f"{range(100)[index]}?"), Message.text("assistant", str(index))))
    def grade(self, conversation, answer):
        return True
"""


@pytest.fixture
def task_data(test_data: Path) -> str:
    return str(test_data / "data" / "task_data")


def opened(tmp_path: Path, stage: Stage = "sft", **settings: Any) -> ChatData:
    config = (SftConfig if stage == "sft" else MidTrainConfig)(**{"conversations": 100, **settings})
    paths = Paths(base=tmp_path, cache=tmp_path / "cache")
    return open_chat_data(stage, config, paths, file_hashes(config, stage))


def test_the_reference_mixture(tmp_path: Path, task_data: str) -> None:
    data = opened(tmp_path, data="reference", task_data=task_data)
    counts = {"smoltalk": 5785, "mmlu": 3 * 2376, "gsm8k": 4 * 7473}
    assert data.train.counts == counts
    places = Places(downloads=tmp_path, scratch=tmp_path / "scratch", given=Path(task_data))
    # in the order of the reference: numpy shuffles rows, Python the mixture
    rows = [(name, at) for name, count in counts.items() for at in range(count)]
    random.Random(42).shuffle(rows)
    tasks = {name: open_task(name, "train", places=places) for name in counts}
    for at in range(0, len(rows), 500):
        name, row = rows[at]
        assert data.train[at] == tasks[name][row % len(tasks[name])]
    # validation: smoltalk's test split, the first of mmlu's and 420 of gsm8k's
    assert len(data.validation) == 642 + 570 + 420
    tests = {name: open_task(name, "test", places=places) for name in counts}
    assert data.validation[0] == tests["smoltalk"][0]
    assert data.validation[-1] == tests["gsm8k"][419]
    assert data.lines[1] == "mmlu: 2,376 conversations, 7,128 to train on (3 times), 570 held out"
    assert data.record["mixture"] == counts


def test_validation_goes_as_far_as_its_tokens(tmp_path: Path, task_data: str) -> None:
    data = opened(tmp_path, data="smoltalk", task_data=task_data, eval_tokens=1000)
    chars = sum(len(message.content) for conversation in data.validation for message in conversation.messages)
    assert 3000 < chars < 10_000


def test_what_is_missing(tmp_path: Path, task_data: str) -> None:
    with pytest.raises(MissingError, match="smoltalk") as caught:
        opened(tmp_path, data="reference")
    assert caught.value.hint.startswith("nanochat data tasks smoltalk")
    with pytest.raises(MissingError, match="train split of arc_easy"):
        opened(tmp_path, data="classic", task_data=task_data)
    with pytest.raises(MissingError, match="there is no file smolltalk"):
        opened(tmp_path, data="smolltalk", task_data=task_data)


def test_weights_slices_and_files_in_one_mixture(tmp_path: Path, task_data: str) -> None:
    mine = tmp_path / "mine.jsonl"
    mine.write_text("".join(f'["{at}?", "{at}."]\n' for at in range(100)))
    path = tmp_path / "mix.toml"
    path.write_text(
        "conversations = 1000\n[parts.gsm8k]\nweight = 5\nstop = 200\n[parts.pocket]\nweight = 3\n"
        f"[parts.'{mine}']\nweight = 2\n"
    )
    data = opened(tmp_path, mixture=str(path), task_data=task_data)
    counts = dict(data.train.counts)
    assert (counts.pop("gsm8k"), counts.pop(str(mine))) == (500, 200)
    assert sum(counts.values()) == pytest.approx(300, abs=5)
    kinds = {conversation.messages[0].content for conversation in data.train}
    places = Places(downloads=tmp_path, scratch=tmp_path / "scratch", given=Path(task_data))
    gsm8k = open_task("gsm8k", "train", places=places)
    assert all(gsm8k[at].messages[0].content in kinds for at in range(200))
    assert gsm8k[200].messages[0].content not in kinds
    record = data.record["files"]
    assert record[str(path)]["sha256"] == file_hashes(SftConfig(mixture=str(path)))[str(path)]
    assert record[str(mine)]["held_out"] == 5


def test_a_sequence_keeps_its_order(tmp_path: Path, task_data: str) -> None:
    path = tmp_path / "mix.toml"
    path.write_text(
        'order = "sequence"\n[parts.gsm8k]\nstop = 3\nepochs = 2\n[parts.smoltalk]\nstart = 10\nstop = 12\n'
    )
    data = opened(tmp_path, mixture=str(path), task_data=task_data)
    places = Places(downloads=tmp_path, scratch=tmp_path / "scratch", given=Path(task_data))
    gsm8k, talk = (open_task(name, "train", places=places) for name in ("gsm8k", "smoltalk"))
    assert list(data.train) == [*(gsm8k[at] for at in (0, 1, 2, 0, 1, 2)), talk[10], talk[11]]


def test_a_task_of_the_users(tmp_path: Path) -> None:
    path = tmp_path / "numbers.py"
    path.write_text(CAPITALS)
    data = opened(tmp_path, data=f"{path}:2")
    assert (len(data.train), len(data.validation)) == (190, 5)
    assert not set(data.train) & set(data.validation)
    assert len(file_hashes(SftConfig(data=str(path)))) == 1


@pytest.mark.parametrize(
    ("records", "source", "data"),
    [
        ({"base": "pocket"}, "", "pocket"),
        ({"base": "fineweb", "mid": "pocket,mine.jsonl:2"}, "", "pocket"),
        ({"base": "fineweb"}, "", "reference"),
        ({"base": ""}, "", "reference"),
        ({}, "", "pocket"),
        ({"base": "fineweb"}, "other:mid@5", "pocket"),
    ],
)
def test_the_default_follows_from_what_the_model_has_learnt(
    records: dict[str, str], source: str, data: str, tmp_path: Path
) -> None:
    for stage, name in records.items():
        folder = tmp_path / "models" / "my-model" / stage
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({"data": {"name": name}} if name else {"imported": {}}))
    paths = Paths(base=tmp_path, cache=tmp_path / "cache")
    assert settle_data(SftConfig(source=source), paths).data == data
    assert settle_data(SftConfig(data="mine.jsonl"), paths).data == "mine.jsonl"


def test_pocket_tasks_by_name(tmp_path: Path) -> None:
    data = opened(tmp_path, data="facts,arithmetic:2", val_data="pocket")
    assert data.train.counts == {"facts": 100, "arithmetic": 200}
    mid = opened(tmp_path, "mid", data="facts", val_data="pocket")
    assert mid.train.counts == {"facts": 100}
    assert not set(mid.train) <= set(data.train)  # each stage has a stream of its own
    assert list(data.validation) == pocket_validation()
    with pytest.raises(UsageError, match="leave nothing of the 100 "):
        path = tmp_path / "mix.toml"
        path.write_text("[parts.facts]\nstart = 1000\n")
        opened(tmp_path, mixture=str(path))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("[parts.pocket]\nstop = 10", "parts.pocket has stop, but is made as long as"),
        ("[parts.pocket]\nstep = 1\nstart = 0", "parts.pocket has start"),
        ("[parts.facts]\nweight = nan", r"weight \(nan\) must be at least 0, and a number"),
        ("[parts.facts]\nweight = inf", r"weight \(inf\) must be"),
    ],
)
def test_parts_that_cannot_be(tmp_path: Path, part: str, message: str) -> None:
    path = tmp_path / "mix.toml"
    path.write_text(part)
    with pytest.raises(UsageError, match=message):
        opened(tmp_path, mixture=str(path))
