"""What is asked: shuffling, examples, prompts, and what of a prompt is scored."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from doubles import tiny_tokenizer
from small_bundle import CHOICES, TEXTS, write_bundle

from nanochat.evaluation.core.bundle import Bundle, open_bundle
from nanochat.evaluation.core.questions import Row, prompts, question, questions, shots


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(write_bundle(tmp_path))


def test_items_are_shuffled_then_cut(bundle: Bundle) -> None:
    task = bundle.tasks[0]
    items = list(CHOICES)
    random.Random(1337).shuffle(items)
    assert list(task.drawn(0)) == items
    assert list(task.drawn(4)) == items[:4]
    assert list(task.drawn(99)) == items


def test_examples_are_others_of_the_cut_data() -> None:
    items = TEXTS[:5]
    for number in range(5):
        others = [item for item in items if item != items[number]]
        assert shots(items, number, 3) == random.Random(1234 + number).sample(others, 3)
        assert sorted(item["context"] for item in shots(items, number, 20)) == [item["context"] for item in others]
        assert shots(items, number, 0) == []


def test_prompts_of_each_kind(bundle: Bundle) -> None:
    colours, zeroshot, cups, sums = bundle.tasks
    first, second = CHOICES[0], CHOICES[1]
    solved = f"{second['query']}\nAnswer: {second['choices'][1]}\n\n"
    assert prompts(colours, [first, second], 0) == [
        f"{solved}{first['query']}\nAnswer: {choice}" for choice in first["choices"]
    ]
    assert prompts(zeroshot, CHOICES, 0)[2] == f"{first['query']} blue"
    assert prompts(cups, cups.items[:2], 1) == [
        "The red cup is full because the cup was filled 0 times.\n\n"
        "The green cup is full because the cup was filled 1 times.",
        "The red cup is full because the cup was filled 0 times.\n\nThe green cup is full; Ann was filled 1 times.",
    ]
    assert prompts(sums, TEXTS[:2], 1) == ["0 and 0 make = 0\n\n1 and 1 make =", "0 and 0 make = 0\n\n1 and 1 make = 2"]


def test_what_is_scored() -> None:
    assert question([[0, 1, 2, 3], [0, 1, 4]], "multiple_choice").rows == (Row([0, 1, 2, 3], 2), Row([0, 1, 4], 2))
    assert question([[0, 1, 2, 9, 8], [0, 3, 9, 8]], "schema").rows == (Row([0, 1, 2, 9, 8], 3), Row([0, 3, 9, 8], 2))
    assert question([[0, 1], [0, 1, 2, 3]], "language_modeling").rows == (Row([0, 1, 2, 3], 2),)


def test_every_row_has_something_that_is_scored() -> None:
    """Where an option is the beginning of another, where two are the same, where tokens join across the border."""
    assert question([[0, 1], [0, 1, 2]], "multiple_choice").rows == (Row([0, 1], 1), Row([0, 1, 2], 1))
    assert question([[0, 1], [0, 1]], "multiple_choice").rows == (Row([0, 1], 1), Row([0, 1], 1))
    assert question([[0, 1], [0, 1]], "schema").rows == (Row([0, 1], 1), Row([0, 1], 1))
    assert question([[0, 1, 2], [0, 1, 3, 4]], "language_modeling").rows == (Row([0, 1, 3, 4], 2),)
    assert question([[0, 1, 2], [0, 1, 2]], "language_modeling").rows == (Row([0, 1, 2], 2),)


def test_rows_begin_with_a_bos(bundle: Bundle) -> None:
    tokenizer = tiny_tokenizer()
    task = bundle.tasks[1]
    asked = questions(task, CHOICES, [3, 9], tokenizer)
    assert [len(one.rows) for one in asked] == [4, 2]
    texts = prompts(task, CHOICES, 3)
    assert [row.ids for row in asked[0].rows] == [[tokenizer.bos, *text.encode()] for text in texts]
