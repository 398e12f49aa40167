"""The tasks of the hub, on their real rows."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from nanochat.errors import ConversationError
from nanochat.tasks.grading import final_number, says_number
from nanochat.tasks.hub import Places, find_rows
from nanochat.tasks.hub_tasks import Gsm8k, Mmlu, MultipleChoice, SmolTalk, letters_to, with_calls
from nanochat.tasks.registry import open_task
from nanochat.tasks.rows import Row, Rows
from nanochat.tokenizer.conversation import Part


class Listed(Rows):
    """Rows of a test."""

    def __init__(self, *rows: Row) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:  # type: ignore[override]
        return self._rows[index]

    def place(self, index: int) -> str:
        return f"here, row {index + 1}"


@pytest.fixture(scope="module")
def places(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    scratch = tmp_path_factory.mktemp("scratch")
    return Places(downloads=scratch / "none", scratch=scratch, given=test_data / "data" / "task_data")


def test_a_question_is_asked_as_the_reference_asks_it(places: Places) -> None:
    rows = find_rows("mmlu", "test", places)
    prompt, answer = (message.content for message in Mmlu(rows)[0].messages)
    assert prompt == (
        f"Multiple Choice question: {rows[0]['question']}\n- 0=A\n- 4=B\n- 2=C\n- 6=D\n\n"
        "Respond only with the letter of the correct answer."
    )
    assert answer == "B"


@pytest.mark.parametrize(("name", "count"), [("mmlu", 570), ("arc_easy", 2376), ("arc_challenge", 1172)])
def test_every_question_can_be_asked_and_graded(name: str, count: int, places: Places) -> None:
    task = open_task(name, "test", places=places)
    assert (len(task), task.kind, task.chance) == (count, "categorical", 0.25)
    for conversation in task:
        right, letters = conversation.messages[-1].content, task.letters(conversation)
        assert task.grade(conversation, right)
        assert sum(task.grade(conversation, letter) for letter in letters) == 1
        assert conversation.messages[0].content.count("\n- ") >= len(letters)


def test_mmlu_has_57_subjects_and_shows_examples_of_the_same(places: Places) -> None:
    task = open_task("mmlu", "test", places=places)
    subjects = Counter(task.group(index) for index in range(len(task)))
    assert len(subjects) == 57
    assert set(subjects.values()) == {10}
    dev = Mmlu(find_rows("mmlu", "dev", places))
    same = [conversation for at, conversation in enumerate(dev) if dev.group(at) == task.group(3)]
    assert task.examples(3, 5) == same
    assert len(task.examples(3, 7)) == 7  # dev has five: others of the split then


def test_choices_that_cannot_be_are_named() -> None:
    row = {"question": "?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "E"}
    with pytest.raises(ConversationError, match="here, row 1: the answer 'E' is none of the letters A, B"):
        MultipleChoice(Listed(row), "arc_easy")[0]
    other: Any = {**row, "choices": {"text": ["a", "b"], "label": ["A", "C"]}}
    with pytest.raises(ConversationError, match="row 2: letters are A, B, C and so on"):
        MultipleChoice(Listed(row, other), "arc_easy")[1]
    with pytest.raises(ConversationError, match="choices that are texts"):
        MultipleChoice(Listed({**row, "question": None}), "arc_easy")[0]
    with pytest.raises(ConversationError, match="the answer '4' is none"):
        Mmlu(Listed({"question": "?", "choices": ["a", "b"], "answer": 4, "subject": ""}))[0]


def test_letters() -> None:
    assert letters_to("C") == ("A", "B", "C")
    assert letters_to("3") == ("1", "2", "3")
    assert letters_to("") == letters_to("c") == letters_to("0") == ()
    row = {"question": "?\n- x=Q", "choices": {"text": ["a\n- b=Z", "c", "d"], "label": ["1", "2", "3"]}}
    task = MultipleChoice(Listed({**row, "answerKey": "3"}), "arc_easy")
    assert task.letters(task[0]) == ("1", "2", "3")


def test_sums_are_calls_of_the_calculator() -> None:
    assert with_calls("He sold 48/2 = <<48/2=24>>24 clips.\n#### 24") == (
        Part("text", "He sold 48/2 = "),
        Part("python", "48/2"),
        Part("output", "24"),
        Part("text", "24 clips.\n#### 24"),
    )
    assert with_calls("#### 1") == (Part("text", "#### 1"),)


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_word_problem_of_gsm8k(split: Any, places: Places) -> None:
    task = open_task("gsm8k", split, places=places)
    assert len(task) == {"train": 7473, "test": 1319}[split]
    calls = 0
    for at in range(0, len(task), 3):
        parts = task[at].messages[1].parts
        calls += sum(part.kind == "python" for part in parts)
        assert "<<" not in task[at].messages[1].content
        assert task.grade(task[at], parts[-1].text)
        assert not task.grade(task[at], parts[-1].text.replace("#### ", "#### 9"))
        assert not task.grade(task[at], parts[-1].text.replace("####", "it is"))
    assert calls > len(task)  # over three a problem


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("#### 1,234", "1234"),
        ("so\n#### $18.00.", "18"),
        ("####-3", "-3"),
        ("#### 5 #### 6", "5"),
        ("5", None),
        ("####", None),
    ],
)
def test_the_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == (None if number is None else Decimal(number))


@pytest.mark.parametrize(
    ("answer", "right", "same"),
    [
        ("It is 42.", "42", True),
        ("6 times 7 is 42", "42.0", True),
        ("42 or 43", "42", False),
        ("#### 42 of 50", "42", True),
        ("1,000", "1e3", True),
        ("a42", "42", False),
        ("-5", "5", False),
        ("none", "5", False),
        (".5", "0.5", True),
    ],
)
def test_answers_that_are_numbers(answer: str, right: str, same: bool) -> None:
    assert says_number(answer, right) is same


def test_a_problem_without_a_number_is_named() -> None:
    with pytest.raises(ConversationError, match=r"here, row 1: .*ends in ####"):
        Gsm8k(Listed({"question": "?", "answer": "five"}))[0]


def test_talk(places: Places) -> None:
    task = open_task("smoltalk", "test", places=places)
    assert len(task) == 642
    assert all(conversation.messages[-1].role == "assistant" for conversation in task)
    wrong = {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}
    with pytest.raises(ConversationError, match="here, row 1: message 2 is from user where assistant must speak"):
        SmolTalk(Listed(wrong))[0]
