from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nanochat.console.tokens import TokenView, coloured_lines, plain_lines, token_text, visible


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"cat", "cat"),
        ("é😀".encode(), "é😀"),
        (b"\xe2\x82", "<0xE2><0x82>"),
        (b"a\xff\xc3\xa9\x80", "a<0xFF>é<0x80>"),
        (b"\xed\xa0\x80", "<0xED><0xA0><0x80>"),
        (b"", ""),
    ],
)
def test_token_text(data: bytes, text: str) -> None:
    assert token_text(data) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a b", " a b"),
        ("a\n\r\tb", r"a\n\r\tb"),
        ("\x1b[31m\x07\x7f", r"\x1b[31m\x07\x7f"),
        ("\x9b\x85\xad", r"\x9b\x85\xad"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("\u2028\ufeff\u200d", r"\u2028\ufeff\u200d"),
        ("\u00a0\u3000", r"\xa0\u3000"),
        ("\U000e0041\ud800", r"\U000e0041\ud800"),
        ("\u0301", "◌\u0301"),
        ("e\u0301", "e\u0301"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters()))
def test_what_is_shown_cannot_act_on_a_terminal(text: str) -> None:
    assert not {unicodedata.category(char) for char in visible(text)} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_plain_lines() -> None:
    tokens = [TokenView(7, "a\n"), TokenView(123, "b", special=True)]
    assert plain_lines(tokens) == [r"  7  |a\n|", "123  |b|"]
    masked = [TokenView(7, "a", trained=True), TokenView(8, "b", trained=False)]
    assert plain_lines(masked) == ["+ 7  |a|", "  8  |b|"]
    assert plain_lines([]) == []


def test_coloured_lines_put_ids_below_their_tokens() -> None:
    lines = [line.plain for line in coloured_lines([TokenView(1234, "ab"), TokenView(5, " cde")], 80)]
    assert lines == ["ab    cde", "1234 5   "]


def test_a_line_break_ends_the_row() -> None:
    lines = [line.plain for line in coloured_lines([TokenView(1, "a\n"), TokenView(2, "b")], 80)]
    assert lines == ["a\\n", "1  ", "", "b", "2"]
    assert len(coloured_lines([TokenView(1, "a\n")], 80)) == 2
    assert coloured_lines([], 80) == []


@given(
    st.lists(st.builds(TokenView, st.integers(0, 99_999), st.text(st.characters(), max_size=30)), max_size=20),
    st.integers(12, 60),
)
def test_no_row_is_wider_than_the_terminal(tokens: list[TokenView], width: int) -> None:
    lines = coloured_lines(tokens, width)
    assert all(cell_len(line.plain.rstrip()) <= width for line in lines)
    ids = " ".join(line.plain for line in lines[1::3]).split()
    assert ids == [str(token.id) for token in tokens]


def test_the_mask_is_an_underline() -> None:
    trained, given_, special = (
        TokenView(1, "a", trained=True),
        TokenView(2, "b", trained=False),
        TokenView(3, "c", True),
    )
    (top, _) = coloured_lines([trained, given_, special], 80)
    styles = {top.plain[span.start : span.end]: str(span.style) for span in top.spans}
    assert "underline" in styles["a"]
    assert "underline" not in styles["b"]
    assert len(set(styles.values())) == 3


def test_neighbours_differ() -> None:
    (top, _) = coloured_lines([TokenView(1, "a"), TokenView(1, "b"), TokenView(1, "c")], 80)
    first, second, third = (str(span.style) for span in top.spans)
    assert first == third != second
