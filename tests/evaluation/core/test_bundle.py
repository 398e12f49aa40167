"""A bundle that is not what it should be is refused by file and line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_bundle import TASKS, write_bundle

from nanochat.errors import DamagedError, MissingError
from nanochat.evaluation.core.bundle import open_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path)


def test_all_of_it(folder: Path) -> None:
    bundle = open_bundle(folder)
    assert [(t.name, t.kind, t.shots, t.chance) for t in bundle.tasks] == [
        (name, kind, shots, chance / 100) for name, (kind, shots, _, _, chance) in TASKS.items()
    ]
    assert [task.delimiter for task in bundle.tasks] == ["\nAnswer: ", " ", " ", " = "]
    assert list(bundle.published) == ["GPT-2 124M"]
    assert bundle.published["GPT-2 124M"]["CORE"] == 0.1


def test_its_hash_follows_the_data_and_the_way_it_is_asked(folder: Path) -> None:
    before = open_bundle(folder).sha256
    assert open_bundle(folder).sha256 == before
    path = folder / "core.yaml"
    path.write_text(path.read_text().replace("num_fewshot: [3]", "num_fewshot: [4]"))
    changed = open_bundle(folder).sha256
    data = folder / "eval_data" / "small" / "cups.jsonl"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[1:]))
    assert len({before, changed, open_bundle(folder).sha256}) == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("no json", "Expecting value"),
        ("[]", "list indices"),
        ('{"query": "q", "gold": 0}', "choices"),
        (json.dumps({"query": "q", "choices": ["a", "b"], "gold": 2}), "gold is 2"),
        (json.dumps({"query": "q", "choices": ["a"], "gold": 0}), "two options"),
        (json.dumps({"query": 1, "choices": ["a", "b"], "gold": 0}), "text"),
    ],
)
def test_a_wrong_item_is_named_by_line(folder: Path, line: str, reason: str) -> None:
    path = folder / "eval_data" / "small" / "colours.jsonl"
    lines = path.read_text().splitlines()
    lines[2] = line
    path.write_text("\n".join(lines))
    with pytest.raises(DamagedError, match=rf"colours\.jsonl:3 .*{reason}"):
        open_bundle(folder)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("core.yaml", "a: [", "no list of tasks"),
        ("core.yaml", "tasks: []", "no list of tasks"),
        ("core.yaml", "icl_tasks: [{label: x}]", "not described"),
        ("eval_meta_data.csv", "a,b\n1,2\n", "no chance levels"),
        ("eval_meta_data.csv", "Eval Task,Random baseline\ncolours,25\n", "chance level for colours_zeroshot"),
        ("openai-community-gpt2.csv", "nothing\n1\n", "no table of scores"),
        ("eval_data/small/cups.jsonl", "\n", "no items"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DamagedError, match=words) as caught:
        open_bundle(folder)
    assert Path(name).name in caught.value.message


@pytest.mark.parametrize("name", ["core.yaml", "eval_meta_data.csv", "eval_data/small/cups.jsonl"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(MissingError, match=Path(name).name):
        open_bundle(folder)
