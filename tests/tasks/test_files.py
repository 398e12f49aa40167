"""A file as a sequence of conversations and as a task: strict, small in memory, and the same in every run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanochat.errors import ConversationError, DamagedError, UsageError
from nanochat.tasks.files import ConversationFile, FileTask, final_text, fingerprint, letters_of, normal, split_file
from nanochat.tasks.formats import convert
from nanochat.tokenizer.conversation import Conversation


def write(path: Path, *values: Any) -> Path:
    path.write_text("".join(f"{json.dumps(value)}\n" for value in values), encoding="utf-8")
    return path


def numbered(path: Path, count: int) -> Path:
    return write(path, *([f"What is {number}?", f"It is {number}."] for number in range(count)))


def asked(path: Path, *values: Any) -> FileTask:
    return FileTask.asked(ConversationFile(write(path, *values)), "mine")


def test_a_file_is_a_sequence(tmp_path: Path) -> None:
    file = ConversationFile(numbered(tmp_path / "a.jsonl", 30))
    assert len(file) == 30
    assert [conversation.messages[1].content for conversation in file] == [f"It is {number}." for number in range(30)]
    assert file[29] == file[-1]
    with pytest.raises(IndexError):
        file[30]
    assert list(map(fingerprint, file)) == file.fingerprints.tolist()


def test_bad_lines_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    good = '["q", "a"]\n'
    path.write_text(good + "oops\n\n" + good + '["q"]\n' * 4)
    with pytest.raises(ConversationError) as caught:
        ConversationFile(path)
    assert caught.value.message == (
        f"{path} has 5 bad of 7: line 2: not JSON: Expecting value at character 1; line 5: there is no answer of the "
        "assistant; line 6: there is no answer of the assistant; and 2 more"
    )
    assert f"nanochat data chat-check {path}" in caught.value.hint


def test_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no conversation"):
        ConversationFile(write(tmp_path / "empty.jsonl"))


def test_a_file_that_is_changed_while_it_is_read(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.jsonl", 2000)
    file = ConversationFile(path)
    text = path.read_text().replace("It is 3.", "It is 4.")
    path.write_text(text)
    assert file[2].messages[1].content == "It is 2."
    with pytest.raises(DamagedError, match="was changed while it was read"):
        file[3]
    path.write_text("")
    with pytest.raises(DamagedError, match="was changed"):
        file[1000]


def test_what_is_held_out_follows_from_what_is_said(tmp_path: Path) -> None:
    file = ConversationFile(numbered(tmp_path / "a.jsonl", 200))
    held_out = {file[int(row)] for row in split_file(file)}
    assert len(held_out) == 10
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    # other order, other form: the same conversations
    turned = [
        {"id": at, "prompt": json.loads(line)[0], "response": json.loads(line)[1]} for at, line in enumerate(lines)
    ]
    other = ConversationFile(write(tmp_path / "b.jsonl", *reversed(turned)))
    assert {other[int(row)] for row in split_file(other)} == held_out
    # with more of them, most stay
    more = ConversationFile(numbered(tmp_path / "c.jsonl", 220))
    assert len(held_out & {more[int(row)] for row in split_file(more)}) >= 7


def test_the_same_conversation_is_never_on_both_sides(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *([f"q{number % 25}", "a"] for number in range(400)))
    file = ConversationFile(path)
    held_out = split_file(file)
    rest = np.setdiff1d(np.arange(len(file)), held_out)
    assert 0 < len(held_out) <= 20
    assert not {file[int(row)] for row in held_out} & {file[int(row)] for row in rest}


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (9, 0), (10, 1), (21, 2), (5000, 200)])
def test_how_many_are_held_out(tmp_path: Path, count: int, expected: int) -> None:
    assert len(split_file(ConversationFile(numbered(tmp_path / "a.jsonl", count)))) == expected


def test_equal_conversations_alone_are_all_trained_on(tmp_path: Path) -> None:
    assert len(split_file(ConversationFile(write(tmp_path / "a.jsonl", *[["q", "a"]] * 50)))) == 0


# a file as a task


def test_answers_are_compared_without_case_space_and_stop(tmp_path: Path) -> None:
    task = asked(tmp_path / "a.jsonl", ["Capital of France?", "Paris"], ["Two words?", "New  York."])
    assert (task.kind, task.chance, len(task), task.name) == ("generative", 0.0, 2, "mine")
    for answer in ("Paris", " paris.\n", "PARIS"):
        assert task.grade(task[0], answer)
    for answer in ("", ".", "Paris!", "Paris is it", "Pari", "New York"):
        assert not task.grade(task[0], answer)
    assert task.grade(task[1], "new york")
    with pytest.raises(NotImplementedError):
        task.letters(task[0])


def test_after_a_tool_only_what_is_said_counts(tmp_path: Path) -> None:
    parts = [
        {"type": "python", "text": "2+2"},
        {"type": "python_output", "text": "4"},
        {"type": "text", "text": "It is 4."},
    ]
    task = asked(tmp_path / "a.jsonl", [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": parts}])
    assert final_text(task[0]) == "It is 4."
    assert task.grade(task[0], "it is 4")


def test_chance_is_the_commonest_answer_where_answers_repeat(tmp_path: Path) -> None:
    task = asked(tmp_path / "a.jsonl", ["a?", "Yes"], ["b?", "yes."], ["c?", "No"], ["d?", "Perhaps"])
    assert task.chance == 0.5


def test_letters_make_a_task_categorical(tmp_path: Path) -> None:
    choices = {"question": "Capital?", "choices": ["Rome", "Paris", "Bonn"], "answer": "Paris"}
    task = asked(tmp_path / "a.jsonl", choices, ["Which?\nA) one\nB) two", "B"])
    assert task.kind == "categorical"
    assert [task.letters(conversation) for conversation in task] == [("A", "B", "C"), ("A", "B")]
    assert task.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert task.grade(task[0], "B")
    assert not task.grade(task[0], "A")


@pytest.mark.parametrize(
    "other", [["Capital of France?", "Paris"], ["Which letter?", "B"], ["Which?\nA) x\nB) y", "C"]]
)
def test_one_other_answer_makes_it_generative(tmp_path: Path, other: list[str]) -> None:
    assert asked(tmp_path / "a.jsonl", ["Which?\nA) one\nB) two", "B"], other).kind == "generative"


@pytest.mark.parametrize(
    ("question", "letters"),
    [
        ("Which?\nA) x\nB) y\nC) z", "ABC"),
        ("Which?\n(A) x\n(B) y", "AB"),
        ("Which?\nA. x\nB. y", "AB"),
        ("Which?\nA: x\nB: y", "AB"),
        ("Which?\n- x=A\n- y=B\n- z=C", "ABC"),
        ("E. coli is what?\nA. x\nB. y", "AB"),
        ("A. Lincoln was born when?", ""),
        ("What is A?", ""),
    ],
)
def test_marks_of_options(question: str, letters: str) -> None:
    assert letters_of(convert([question, "A"]).conversation) == tuple(letters)


def test_a_question_without_answer_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="conversation 2 ends with a question"):
        asked(tmp_path / "a.jsonl", ["q", "a"], ["q", "a", "q"])


def test_normal() -> None:
    assert normal("  The\n Answer . ") == "the answer"
    assert normal("...") == ".."


def test_rows(tmp_path: Path) -> None:
    file = ConversationFile(numbered(tmp_path / "a.jsonl", 10))
    task = FileTask(file, "some", np.array([3, 5]))
    assert len(task) == 2
    assert list(task) == [file[3], file[5]]
    assert isinstance(task[1], Conversation)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    text = "word " * 400
    with path.open("w") as file:
        for number in range(40_000):
            file.write(
                json.dumps(
                    {"messages": [{"role": "user", "content": f"{number}"}, {"role": "assistant", "content": text}]}
                )
                + "\n"
            )
    size = path.stat().st_size
    assert size > 80e6
    code = """
import resource, sys
from pathlib import Path
from nanochat.tasks.files import ConversationFile, FileTask, split_file
from nanochat.tasks.mixture import Mixture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
file = ConversationFile(Path(sys.argv[1]))
mixture = Mixture([(FileTask(file, "a"), 3 * len(file))])
assert len(split_file(file)) == 200
assert sum(len(mixture[at].messages) for at in range(0, len(mixture), 100)) == 2 * 1200
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    grown = int(done.stdout) * 1024
    print(f"{size / 1e6:.0f} MB of conversations: {grown / 1e6:.1f} MB of memory")
    assert grown < 12e6
