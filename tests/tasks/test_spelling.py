"""Words to spell and letters to count."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.engine.calculator import calculate
from nanochat.errors import DamagedError
from nanochat.tasks.hub import Places
from nanochat.tasks.registry import open_task
from nanochat.tasks.spelling import SimpleSpelling, SpellingBee, load_words

WORDS = [f"{a}{b}{c}ing" for a in "bcdfg" for b in "aeiou" for c in "mnprst"]


@pytest.fixture(scope="module")
def places(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    scratch = tmp_path_factory.mktemp("scratch")
    return Places(downloads=scratch, scratch=scratch, given=test_data / "data")


def test_a_tenth_of_the_words_is_held_out(places: Places) -> None:
    assert places.given
    words = load_words(places.given / "words" / "words_alpha.txt.gz")
    assert sum(map(len, words.values())) == 370_099
    assert not set(words["train"]) & (set(words["val"]) | set(words["test"]))
    assert len(words["test"]) == pytest.approx(18_505, rel=0.02)


def test_sizes_are_those_of_the_reference(places: Places) -> None:
    assert len(open_task("spellingbee", "train", places=places)) == 80_000
    assert len(open_task("simplespelling", "train", places=places)) == 200_000
    assert len(open_task("spellingbee", "test", places=places)) == 256
    assert len(open_task("spellingbee", "val", places=places, size=9)) == 9


def test_counting_is_worked_out_and_checked_by_the_calculator() -> None:
    task = SpellingBee(WORDS, "train", 300)
    nothing = 0
    for conversation in task:
        question, answer = conversation.messages
        spelling, call, output, rest = answer.parts
        word = spelling.text.split("\n\n")[1].partition(":")[0]
        assert word in WORDS
        assert word in question.content.lower()
        assert calculate(call.text) == output.text
        assert f"{word}:{','.join(word)}\n" in spelling.text
        assert rest.text.endswith(f"#### {output.text}")
        assert task.grade(conversation, rest.text)
        assert not task.grade(conversation, f"#### {int(output.text) + 1}")
        assert not task.grade(conversation, output.text)
        nothing += output.text == "0"
        lines = spelling.text.splitlines()
        assert sum("that makes" in line for line in lines) == int(output.text)
    assert 0 < nothing < 60


def test_the_same_conversation_at_every_call_and_another_in_every_split() -> None:
    task = SpellingBee(WORDS, "train", 50)
    assert list(task) == list(task)
    assert list(task) != list(SpellingBee(WORDS, "test", 50))
    assert len({conversation.messages[0].content for conversation in task}) > 40
    with pytest.raises(IndexError):
        task[50]


def test_simple_spelling() -> None:
    task = SimpleSpelling(["apple"], "train", 2)
    assert [message.content for message in task[0].messages] == ["Spell the word: apple", "apple:a,p,p,l,e"]
    assert task.grade(task[0], "a, p, p, l, e")
    assert not task.grade(task[0], "a,p,l,e")


def test_what_is_no_list_of_words(tmp_path: Path) -> None:
    path = tmp_path / "words_alpha.txt"
    path.write_text("<html>\nNot Found\n</html>")
    with pytest.raises(DamagedError, match="no list of words"):
        load_words(path)
