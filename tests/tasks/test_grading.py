"""What is right and what only looks right."""

from __future__ import annotations

import pytest

from nanochat.tasks.grading import letter_is, names_only, number_is, spells

CITIES = ["Kyoto", "Paris", "Mexico City", "Rome"]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("The capital of Japan is Tokyo.", True),
        ("Tokyo", True),
        ("It is tokyo, of course.", True),
        ("The capital of Japan is Paris.", False),
        ("The capital of Japan is Tokyo or Paris.", False),
        ("The capital of Japan is Tokyoville.", False),
        ("", False),
    ],
)
def test_names(answer: str, right: bool) -> None:
    assert names_only(answer, "Tokyo", CITIES, "Japan") is right


def test_the_subject_may_be_repeated() -> None:
    assert names_only("South Africa is in Africa.", "Africa", ["Asia"], "South Africa")
    assert not names_only("South Africa is nice.", "Africa", ["Asia"], "South Africa")
    assert names_only("Mexico City is the capital of Mexico.", "Mexico", ["Japan"], "Mexico City")
    assert names_only("The opposite of hot is cold.", "cold", ["warm"], "hot")


def test_hyphens_join_words() -> None:
    assert names_only("The number 61 in words is sixty-one.", "sixty-one", ["sixty", "one"], "61")
    assert not names_only("The number 60 in words is sixty-one.", "sixty", ["one"], "60")


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("23 plus 58 is 81.", True),
        ("81", True),
        ("58 + 23 = 81", True),
        ("The answer is 81, not 82.", False),
        ("It is 82 or 81.", False),
        ("23 plus 58 is 82.", False),
        ("-81", False),
        ("It is -81.", False),
        ("81.5", False),
        ("23 plus 59 is 81.", False),
        ("no number", False),
    ],
)
def test_numbers(answer: str, right: bool) -> None:
    assert number_is(answer, "81", "23 plus 58") is right


def test_thousands_may_have_commas() -> None:
    assert number_is("99 times 99 is 9,801.", "9801", "99 times 99")


def test_spelling() -> None:
    assert spells("apple:a,p,p,l,e", "apple")
    assert spells("a, p, p, l, e", "apple")
    assert not spells("apple:a,p,l,e", "apple")
    assert not spells("apply:a,p,p,l,e", "apple")
    assert not spells("apple", "apple")


def test_letters() -> None:
    assert letter_is("B", "B")
    assert letter_is(" B.", "B")
    assert not letter_is("B, or C", "B")
    assert not letter_is("b", "B")
