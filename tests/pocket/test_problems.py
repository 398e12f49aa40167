"""Word problems: true, of two steps, and in the wordings and numbers of their split."""

from __future__ import annotations

import re

import pytest

from nanochat.engine.calculator import calculate
from nanochat.pocket.conversations import conversation
from nanochat.pocket.held_out import MAX_NUMBER, Split, split_of_pair
from nanochat.pocket.problems import GAINS, LOSSES, WORDINGS

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def pattern(template: str) -> re.Pattern[str]:
    """What a template becomes, with whatever stands in its places."""
    return re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(template)))


@pytest.mark.parametrize("split", SPLITS)
def test_the_expression_says_what_the_words_do(split: Split) -> None:
    signs = {"+": GAINS, "-": LOSSES}
    kinds = set()
    for index in range(400):
        record = conversation("problems", index, split)
        prompt = record["messages"][0]["content"]
        expression, result, text = (part["text"] for part in record["messages"][1]["content"])
        a, one, b, two, c = re.fullmatch(r"(\d+)([+*-])(\d+)([+-])(\d+)", expression).groups()
        assert calculate(expression) == result == record["answer"]
        assert calculate(f"{a}{one}{b}") is not None
        assert int(calculate(f"{a}{one}{b}") or -1) >= 0 <= int(result)
        assert text == f"The answer is {result}."
        assert re.findall(r"\d+", prompt) == [a, b, c]
        assert max(map(int, (a, b, c))) <= MAX_NUMBER
        for sign, number in ((one, b), (two, c)):
            if sign != "*":
                assert any(template.format(n=number) in prompt for template in signs[sign]), prompt
        assert ("left" in prompt.split(".")[-1]) <= (two == "-")
        kinds.add(one + two)
    assert kinds == {"++", "+-", "-+", "--", "*+", "*-"}


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_are_of_their_split(split: Split) -> None:
    for index in range(300):
        a, b, _ = map(int, conversation("problems", index, split)["subject"].split())
        assert split_of_pair(a, b) == split


def test_wordings_are_held_out() -> None:
    for name in ("had", "boxes", "once", "twice", "asks", "left"):
        wordings = [set(getattr(WORDINGS[split], name)) for split in SPLITS]
        assert all(wordings)
        assert not wordings[0] & wordings[1]
        assert not (wordings[0] | wordings[1]) & wordings[2]
    held_out = [pattern(ask) for split in ("val", "test") for ask in (*WORDINGS[split].asks, *WORDINGS[split].left)]
    trained = [conversation("problems", index, "train")["messages"][0]["content"] for index in range(500)]
    assert not [prompt for prompt in trained for wording in held_out if wording.search(prompt)]


@pytest.mark.parametrize("split", ["val", "test"])
def test_half_of_the_held_out_problems_are_worded_anew(split: Split) -> None:
    told = [pattern(text) for text in (*WORDINGS[split].asks, *WORDINGS[split].left)]
    prompts = [conversation("problems", index, split)["messages"][0]["content"] for index in range(400)]
    share = sum(any(wording.search(prompt) for wording in told) for prompt in prompts) / len(prompts)
    assert 0.4 < share < 0.6
