"""`--data pocket,mine.jsonl:3`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.config.conversations import Ingredient, parse_ingredients
from nanochat.config.train import MidTrainConfig, SftConfig
from nanochat.errors import UsageError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pocket", [Ingredient("pocket")]),
        (" pocket , mine.jsonl:3,", [Ingredient("pocket"), Ingredient("mine.jsonl", 3)]),
        ("pocket:2", [Ingredient("pocket", 2)]),
        ("C:\\mine.jsonl", [Ingredient("C:\\mine.jsonl")]),
        ("a:b", [Ingredient("a:b")]),
        ("./pocket", [Ingredient("./pocket")]),
    ],
)
def test_parts(text: str, parts: list[Ingredient]) -> None:
    assert list(parse_ingredients(text)) == parts
    assert [part.is_pocket for part in parse_ingredients(text)] == [part.name == "pocket" for part in parts]


def test_the_home_folder() -> None:
    assert Ingredient("~/a.jsonl").path == Path.home() / "a.jsonl"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "names nothing"), (",", "names nothing"), ("a:0", "takes a 0 times"), ("a,a:2", "names a twice")],
)
def test_wrong_ones(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_ingredients(text)
    with pytest.raises(UsageError, match=message):
        SftConfig(data=text)
    if text:
        with pytest.raises(UsageError, match=f"val_data {message}"):
            MidTrainConfig(val_data=text)
