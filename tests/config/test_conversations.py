"""`--data pocket,mine.jsonl:3`."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanochat.config.conversations import Ingredient, Recipe, expand, parse_ingredients, read_recipe
from nanochat.config.train import MidTrainConfig, SftConfig
from nanochat.errors import MissingError, UsageError


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


def test_presets_are_their_parts_in_a_stage() -> None:
    sft = expand(parse_ingredients("reference,mine.jsonl:2"), "sft")
    assert [(part.name, part.times) for part in sft] == [("smoltalk", 1), ("mmlu", 3), ("gsm8k", 4), ("mine.jsonl", 2)]
    assert {part.name for part in expand(parse_ingredients("reference"), "mid")} >= {"smoltalk", "spellingbee"}
    assert expand(parse_ingredients("classic"), "sft")[-1] == Ingredient("smoltalk", stop=10_000)
    with pytest.raises(UsageError, match="names mmlu beside a preset"):
        expand(parse_ingredients("reference,mmlu"), "sft")
    with pytest.raises(UsageError, match="takes reference 2 times"):
        expand(parse_ingredients("reference:2"), "sft")


def recipe(folder: Path, text: str) -> Recipe:
    path = folder / "mix.toml"
    path.write_text(text)
    return read_recipe(path)


def test_a_mixture_in_a_file(tmp_path: Path) -> None:
    text = 'order = "sequence"\n[parts.pocket]\n[parts."mine.jsonl"]\nepochs = 3\nstart = 5\nstop = 50\nstep = 2\n'
    assert recipe(tmp_path, text) == Recipe(
        parts=(Ingredient("pocket"), Ingredient("mine.jsonl", 3, None, 5, 50, 2)), order="sequence"
    )
    weights = recipe(tmp_path, "conversations = 100\n[parts.a]\nweight = 1\n[parts.b]\nweight = 0.5\n")
    assert weights == Recipe(
        parts=(Ingredient("a", weight=1.0), Ingredient("b", weight=0.5)), conversations=100, order="shuffled"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no parts"),
        ("parts = 3", "parts cannot be 3"),
        ("[parts]\na = 3", "parts.a is no table"),
        ("[parts.a]\nepoch = 3", "parts.a has an unknown key epoch"),
        ("[parts.a]\nepochs = 0", "parts.a: epochs .0. must be at least 1"),
        ("[parts.a]\nepochs = 1.5", "parts.a: epochs cannot be 1.5"),
        ("[parts.a]\nepochs = 2\nweight = 1", "has epochs and a weight"),
        ("[parts.a]\nweight = 1\n[parts.b]", "a has a weight and b has none"),
        ("[parts.a]\nweight = 0", "all weights are 0"),
        ("[parts.a]\nweight = -1\n[parts.b]\nweight = 2", "weight .-1.0. must be at least 0"),
        ("conversations = 5\n[parts.a]", "belongs to weights"),
        ('order = "random"\n[parts.a]', "order is shuffled or sequence, not 'random'"),
        ("[parts.a", "is no TOML"),
    ],
)
def test_wrong_mixtures_in_files(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        recipe(tmp_path, text)
    assert "mix.toml" in caught.value.message


def test_one_way_to_say_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data and mixture both"):
        SftConfig(data="pocket", mixture="mix.toml")
    with pytest.raises(MissingError, match="there is no file"):
        read_recipe(tmp_path / "none.toml")
