"""Tasks that are files of Python: the example of the handbook, and what is wrong with others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nanochat.errors import MissingError, UsageError
from nanochat.tasks.hub import Places
from nanochat.tasks.registry import open_task
from nanochat.tasks.user import load_task

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
IMPORTS = "from nanochat.tasks.task import Task\nfrom nanochat.tokenizer.conversation import Conversation\n\n"
BODY = """
    def __len__(self): return 2
    def __getitem__(self, index): return Conversation.from_dict({"messages": [{"role": "user", "content": "a"}]})
    def grade(self, conversation, answer): return True
"""


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_example_of_the_handbook(tmp_path: Path) -> None:
    places = Places(downloads=tmp_path, scratch=tmp_path)
    task = open_task(str(written(tmp_path, EXAMPLE, "capitals.py")), places=places)
    assert (task.name, task.kind, len(task), task.chance) == ("capitals", "generative", 3, 1 / 3)
    for conversation in task:
        right = conversation.messages[-1].content
        assert task.grade(conversation, right)
        assert task.reward(conversation, right) == 1 - len(right) / 1000
        assert not task.grade(conversation, "It is Rome.")


def test_a_split_is_told_to_those_who_take_it(tmp_path: Path) -> None:
    text = f"{IMPORTS}class Mine(Task):\n    name = 'split'\n    def __init__(self, split): self.split = split{BODY}"
    path = written(tmp_path, text)
    assert load_task(path, "val").split == "val"  # type: ignore[attr-defined]
    assert load_task(path, "train").split == "train"  # type: ignore[attr-defined]


def test_the_one_that_is_meant(tmp_path: Path) -> None:
    two = f"{IMPORTS}class One(Task):{BODY}\nclass Two(One):\n    chance = 0.5\n"
    with pytest.raises(UsageError, match="several tasks: One, Two"):
        load_task(written(tmp_path, two), "test")
    assert load_task(written(tmp_path, f"{two}TASK = Two\n", "two.py"), "test").chance == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no subclass of Task"),
        ("x = 1\n\ny = x +\n", r"mine.py, line 3: SyntaxError"),
        ("import json\njson.loads('{')\n", r"mine.py, line 2: JSONDecodeError: Expecting"),
        ("import nothing_of_this_name\n", "line 1: ModuleNotFoundError"),
        (f"{IMPORTS}class Mine(Task):\n    def __len__(self): return 1\n", "Mine lacks __getitem__, grade"),
        (f"{IMPORTS}class Mine(Task):{BODY}".replace("return 2", "return 0"), "no conversation in its split test"),
        (f"{IMPORTS}class Mine(Task):{BODY}".replace("return 2", "return 1 / 0"), "line 5: ZeroDivisionError"),
        (f"{IMPORTS}TASK = 5\n", "TASK is no subclass"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        load_task(written(tmp_path, text), "test")
    assert str(tmp_path) in caught.value.message


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"mine\.py, line 2: ZeroDivisionError"):
        load_task(Path(written(tmp_path, "x = 1\nx / 0\n").name), "test")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there is no file"):
        load_task(tmp_path / "none.py", "test")


def test_names(tmp_path: Path) -> None:
    places = Places(downloads=tmp_path, scratch=tmp_path)
    with pytest.raises(UsageError, match="no task 'mlu'") as caught:
        open_task("mlu", places=places)
    assert "mmlu" in caught.value.hint
    assert open_task("facts", "val", places=places, size=5).name == "facts"
    with pytest.raises(MissingError, match="arc_easy"):
        open_task("ARC-Easy", places=places)
