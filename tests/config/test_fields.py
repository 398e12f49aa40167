"""Fields read text and values, refuse the rest in words, and say which of them are flags."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.config.fields import (
    REQUIRED,
    OptionSpec,
    format_count,
    option,
    options_of,
    parse_count,
    settings_of,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    depth: int = option(12, "Layers.")
    max_chars: int = option(2_000_000_000, "Text.", unit="chars", parse="count")
    lr: float = option(0.02, "Learning rate.", flag=["-l", "--lr"])
    compile: bool = option(True, "Compile.")
    tag: str | None = option(None, "Name.")
    era: Literal["A", "D"] = option("D", "Era.")
    source: str = option(REQUIRED, "Where from.", choices=("web", "pocket"))
    folder: str | None = option(None, "Folder.", parse="path", hidden=True)
    secret_dial: int = option(3, "Documented, no flag.", flag=False)
    eps: float = 1e-10
    layers: tuple[int, ...] = ()


SPECS = {spec.name: spec for spec in settings_of(Example)}


def test_flags_are_the_fields_made_with_option() -> None:
    flags = {spec.name: spec.flags for spec in options_of(Example)}
    assert flags["depth"] == ("--depth",)
    assert flags["max_chars"] == ("--max-chars",)
    assert flags["lr"] == ("-l", "--lr")
    assert {"secret_dial", "eps", "layers"}.isdisjoint(flags)


def test_settings_are_all_fields_that_text_can_express() -> None:
    assert list(SPECS) == [name for name in Example.__dataclass_fields__ if name != "layers"]
    assert SPECS["secret_dial"].help == "Documented, no flag."
    assert SPECS["folder"].hidden
    assert SPECS["source"].default is REQUIRED


def test_types_and_choices_come_from_annotations() -> None:
    assert (SPECS["tag"].type, SPECS["tag"].optional) == (str, True)
    assert SPECS["era"].choices == ("A", "D")
    assert SPECS["compile"].type is bool


def test_an_option_of_another_type_is_refused_at_once() -> None:
    @dataclass(frozen=True, kw_only=True, slots=True)
    class Wrong:
        sizes: tuple[int, ...] = option((), "Sizes.")

    with pytest.raises(TypeError, match=r"Wrong\.sizes"):
        options_of(Wrong)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("depth", "6", 6),
        ("depth", " 6 ", 6),
        ("max_chars", "10M", 10_000_000),
        ("lr", "1e-3", 1e-3),
        ("compile", "yes", True),
        ("compile", "OFF", False),
        ("tag", "none", None),
        ("tag", "d12", "d12"),
        ("era", "A", "A"),
    ],
)
def test_text_is_read(name: str, text: str, value: object) -> None:
    assert SPECS[name].from_text(text) == value


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("depth", "six", "expected a whole number, found 'six'"),
        ("depth", "6.5", "expected a whole number, found '6.5'"),
        ("depth", "none", "expected a whole number, found 'none'"),
        ("compile", "maybe", "expected true or false, found 'maybe'"),
        ("era", "Z", "expected one of A, D, found 'Z'"),
        ("max_chars", "10Q", "10M or 2B, found '10Q'"),
    ],
)
def test_wrong_text_is_refused_in_words(name: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SPECS[name].from_text(text)


@pytest.mark.parametrize(
    ("name", "given_value", "value"),
    [
        ("depth", 6, 6),
        ("lr", 1, 1.0),
        ("max_chars", "2B", 2_000_000_000),
        ("tag", "none", None),
        ("compile", True, True),
    ],
)
def test_values_of_a_file_are_read(name: str, given_value: object, value: object) -> None:
    read = SPECS[name].from_value(given_value)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "given_value", "found"),
    [
        ("depth", "6", "'6'"),
        ("depth", True, "true"),
        ("depth", 6.0, "6.0"),
        ("tag", 3, "3"),
        ("compile", 1, "1"),
        ("lr", [1], "a list"),
    ],
)
def test_values_of_another_type_are_refused(name: str, given_value: object, found: str) -> None:
    with pytest.raises(ValueError, match=f"found {found}"):
        SPECS[name].from_value(given_value)


def test_a_path_starts_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("USERPROFILE", "/home/someone")
    assert SPECS["folder"].from_text("~/models").replace("\\", "/") == "/home/someone/models"


def test_a_function_can_read_the_text() -> None:
    spec = OptionSpec("size", (), int, False, 0, parse=lambda text: len(text))
    assert spec.from_text("four") == 4


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("512K", 512_000),
        ("10m", 10_000_000),
        ("2B", 2 * 10**9),
        ("1.5B", 15 * 10**8),
        ("1e9", 10**9),
        ("-1", -1),
        ("3_000", 3000),
    ],
)
def test_counts(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["", "K", "1.5", "0.0001K", "nan", "inf", "1e99999999", "ten", "1 000"])
def test_what_is_no_count(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number"):
        parse_count(text)


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_counts_survive_writing_and_reading(count: int) -> None:
    assert parse_count(format_count(count)) == count


@given(st.sampled_from(["depth", "max_chars", "lr", "compile", "eps"]), st.data())
def test_values_survive_writing_and_reading(name: str, data: st.DataObject) -> None:
    spec = SPECS[name]
    values = {int: st.integers(-(10**9), 10**9), float: st.floats(allow_nan=False), bool: st.booleans()}
    value = data.draw(values[spec.type])
    assert spec.from_text(spec.to_text(value)) == value


def test_config_imports_neither_click_nor_torch() -> None:
    code = "import sys, nanochat.config.load; print({'click', 'torch', 'rich', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
