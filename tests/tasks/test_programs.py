"""Answers that are programs: what is run, what counts, and when nothing is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanochat.errors import MissingError, NanochatError, UsageError
from nanochat.runtime.sandbox.result import Isolation, Outcome, SandboxResult
from nanochat.tasks.files import ConversationFile, FileTask
from nanochat.tasks.hub import Places
from nanochat.tasks.humaneval import helpers_of, imports_of
from nanochat.tasks.programs import Programs, code_of
from nanochat.tasks.registry import open_task
from nanochat.tokenizer.conversation import Conversation, Message


class Sandbox:
    """Runs programs as they are, here: what tests run is their own."""

    def __init__(self) -> None:
        self.isolation = Isolation.FULL
        self.broken = False
        self.ran: list[tuple[str, str]] = []

    def check_python(self, program: str, check: str) -> SandboxResult:
        self.ran.append((program, check))
        names: dict[str, Any] = {}
        if self.broken:
            return self._result(Outcome.INFRASTRUCTURE, "no process could be started")
        try:
            exec(program, names)
            exec(check, names)
        except Exception:
            return self._result(Outcome.FAILED)
        return self._result(Outcome.PASSED)

    def _result(self, outcome: Outcome, detail: str = "") -> SandboxResult:
        return SandboxResult(outcome, "", "", self.isolation, 0.0, detail)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    double = Sandbox()
    monkeypatch.setattr("nanochat.runtime.sandbox.run.check_python", double.check_python)
    monkeypatch.setattr("nanochat.runtime.sandbox.run.reached_isolation", lambda: double.isolation)
    return double


@pytest.fixture
def places(test_data: Path, tmp_path: Path) -> Places:
    return Places(downloads=tmp_path, scratch=tmp_path, given=test_data / "data")


def ask(text: str) -> Conversation:
    return Conversation((Message.text("user", text),))


def test_humaneval(sandbox: Sandbox, places: Places) -> None:
    task = open_task("humaneval", places=places)
    task.prepare()
    assert len(task) == 164
    assert task.max_new_tokens == 512
    for index in range(0, 164, 8):
        prompt, solution = task[index].messages
        assert task.grade(task[index], solution.content)
        assert task.grade(task[index], f"Here it is:\n```python\n{solution.content}\n```\nIt works. ```x```")
        assert not task.grade(task[index], prompt.content + "\n    return None\n")
        assert not task.grade(task[index], "")


def test_the_imports_of_the_prompt_are_put_in_front(sandbox: Sandbox, places: Places) -> None:
    task = open_task("humaneval", places=places)
    first = next(conversation for conversation in task if "has_close_elements" in conversation.messages[0].content)
    task.grade(first, "def has_close_elements(numbers: List[float], t): ...")
    ((program, check),) = sandbox.ran
    assert program.startswith("from typing import List\n\ndef has_close_elements")
    assert check.endswith("check(has_close_elements)\n")
    assert imports_of("# head\nimport os\n\nfrom a import b\nx = 1\nimport c") == "import os\nfrom a import b"


def test_the_test_has_the_helpers_of_the_prompt() -> None:
    prompt = 'import math\n\ndef poly(x):\n    return math.sqrt(x)\n\ndef find(x):\n    """ Find it. """\n'
    assert helpers_of(prompt, "find").split() == ["import", "math", "def", "poly(x):", "return", "math.sqrt(x)"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("x = 1", "x = 1"),
        ("```python\nx = 1\n```", "x = 1"),
        ("So:\n```\nx = 1\ny = 2\n```\nor\n```\nz\n```", "x = 1\ny = 2"),
        ("```py\nx = 1", "x = 1"),
        ("``` x", "``` x"),
        ("", ""),
    ],
)
def test_the_code_of_an_answer(answer: str, code: str) -> None:
    assert code_of(answer) == code


def test_nothing_is_run_where_the_sandbox_is_weak(sandbox: Sandbox, places: Places) -> None:
    sandbox.isolation = Isolation.SYSCALLS
    task = open_task("humaneval", places=places)
    for refused in (task.prepare, lambda: task.grade(task[0], "x = 1")):
        with pytest.raises(
            MissingError, match="would not be held well enough here: isolation is system calls"
        ) as caught:
            refused()
        assert "--unsafe-exec" in caught.value.hint
    assert sandbox.ran == []
    unsafe = open_task("humaneval", places=places, unsafe_exec=True)
    unsafe.prepare()
    assert unsafe.grade(unsafe[0], unsafe[0].messages[1].content)


def test_a_sandbox_that_fails_says_nothing_about_the_program(sandbox: Sandbox) -> None:
    sandbox.broken = True
    with pytest.raises(NanochatError, match="could not be run: no process could be started"):
        Programs().passes("x = 1", "assert x")


def test_checks_of_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    values = [
        {"prompt": "Write double.", "check": "assert double(2) == 4"},
        {"question": "6 * 7?", "answer": 42},
        ["Capital of France?", "Paris"],
    ]
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values))
    task = FileTask.asked(ConversationFile(path), "mine")
    assert (task.kind, task.max_new_tokens, task.chance) == ("generative", 512, 0.0)
    task.prepare()
    graded: Callable[[int, str], bool] = lambda at, answer: task.grade(task[at], answer)  # noqa: E731
    assert graded(0, "```\ndef double(x): return 2 * x\n```")
    assert not graded(0, "double = abs")
    assert graded(1, "It is 42.0.")
    assert not graded(1, "It is 43.")
    assert graded(2, "paris")
    sandbox.isolation = Isolation.NONE
    with pytest.raises(MissingError, match="not be held"):
        task.prepare()


def test_a_file_without_programs_needs_no_sandbox(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "6 * 7?", "answer": 42}\n')
    task = FileTask.asked(ConversationFile(path), "mine")
    task.prepare()
    assert task.max_new_tokens == 64


def test_one_question_with_two_checks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(f'{{"prompt": "Write x.", "check": "assert x == {at}"}}\n' for at in (1, 1, 2)))
    with pytest.raises(UsageError, match="conversations 1 and 3 are the same and have different checks"):
        FileTask.asked(ConversationFile(path), "mine")


def test_the_sandbox_itself(places: Places) -> None:
    """References pass and an empty function does not, through the real thing."""
    task = open_task("humaneval", places=places, unsafe_exec=True)
    helped = [at for at, conversation in enumerate(task) if "def encode_cyclic" in conversation.messages[0].content]
    for index in (0, 100, *helped):
        assert task.grade(task[index], task[index].messages[1].content)
        assert not task.grade(task[index], task[index].messages[0].content + "\n    return None\n")
    # the test encodes a text, and decoding must give it back: an answer that encodes nothing would be right
    (index,) = helped
    assert not task.grade(task[index], "def encode_cyclic(s):\n    return s\n\ndef decode_cyclic(s):\n    return s\n")
