"""Short strings."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.console.words import bar, condense, duration, loss_text, money, safe, short, size, sparkline, to_ascii


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (58.4, "0:58"),
        (59.6, "1:00"),
        (723, "12:03"),
        (3723, "1:02:03"),
        (-1, "0:00"),
        (math.nan, "0:00"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (7, "7"), (0.25, "0.2"), (940, "940"), (999.6, "1.0k"), (15_300, "15.3k"), (1.2e6, "1.2M"),
     (250_000, "250k"), (math.inf, "?"), (math.nan, "?")],
)  # fmt: skip
def test_short_numbers(value: float, text: str) -> None:
    assert short(value) == text


def test_sizes_and_losses() -> None:
    assert size(12_000_000) == "12.0 MB"
    assert size(940) == "940 B"
    assert loss_text(8.319) == "8.32"
    assert loss_text(0.0419) == "0.042"
    assert loss_text(math.nan) == "nan"


def test_bar_has_its_width() -> None:
    assert bar(0.5, 10) == ("━━━━━", "─────")
    assert bar(1.0, 4) == ("━━━━", "")
    assert bar(7.0, 4) == ("━━━━", "")
    assert bar(-1.0, 4) == ("", "────")


def test_sparkline_shows_the_newest_between_their_own_bounds() -> None:
    assert sparkline([100, 4, 3, 2, 1], 4) == "█▆▃▁"
    assert sparkline([2, 2], 8) == "▁▁"
    assert sparkline([1, math.nan, 2], 8) == "▁█"
    assert sparkline([], 8) == ""
    assert sparkline([1, 2], 0) == ""


def test_condensed_values_are_means_of_all_of_them() -> None:
    assert condense([1, 3, 5, 7], 2) == [2, 6]
    assert condense([1, 2, 3], 3) == [1, 2, 3]
    assert condense([1, 2, 3], 0) == [1, 2, 3]
    assert len(condense(range(100), 7)) == 7


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        (0, "$0.000"),
        (0.0042, "$0.004"),
        (0.0996, "$0.10"),
        (24, "$24.00"),
        (99.6, "$100"),
        (12_345.6, "$12,346"),
        (math.inf, "$?"),
    ],
)
def test_money(dollars: float, text: str) -> None:
    assert money(dollars) == text


def test_foreign_text_cannot_steer_a_terminal() -> None:
    assert safe("a\x1b[31mb\r\nc\td\x9b\u202e\ud800") == "a�[31mb  c d���"
    assert safe(" naïve 日本 [red] ") == "naïve 日本 [red]"


@given(st.text())
def test_safe_text_is_one_printable_line(text: str) -> None:
    assert safe(text).isprintable()
    safe(text).encode()


def test_signs_have_ascii_twins_of_the_same_width() -> None:
    signs = "✓▸·→━─…▁▂▃▄▅▆▇█"
    assert to_ascii(signs).isascii()
    assert len(to_ascii(signs)) == len(signs)
