"""Whatever a model says, a terminal only shows it."""

from __future__ import annotations

import random
from typing import Any

import pyte
import pytest
from doubles import tiny_tokenizer
from hypothesis import given
from hypothesis import strategies as st

from nanochat.runtime.safe_text import SafeText, safe_line, safe_text
from nanochat.tokenizer.stream import StreamDecoder

ATTACKS = [
    *("\x1b[2J", "\x1b[1;1H", "\x1b[31m", "\x1b[?1049h", "\x1b[?25l", "\x1b[6n", "\x1b[8;1;1t", "\x1b[5A", "\x1bc"),
    *(
        "\x1b]0;owned\x07",
        "\x1b]2;owned\x1b\\",
        "\x1b]52;c;b3duZWQ=\x07",
        "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    ),
    *(
        '\x1bP$q"p\x1b\\',
        "\x1b_Gi=1;AAAA\x1b\\",
        "\x1b^private\x1b\\",
        "\x1b#8",
        "\x1b(0qqq",
        "\x1b%G",
        "\x1bM",
        "\x1b7",
    ),
    *(
        "\x9b2J",
        "\x9d0;owned\x9c",
        "\x9d52;c;b3duZWQ=\x9c",
        "\x90q\x9c",
        "\x84",
        "\x85",
        "\x8d",
        "\x98",
        "\x9e",
        "\x9f",
    ),
    *("\b\b\b\b", "\r", "\x07", "\x0b", "\x0c", "\x0e", "\x0f", "\x00", "\x7f", "\x05", "\x18", "\x1a", "\x1b\x1b["),
    *("\u202eevil\u202c", "\u2066x\u2069", "\u200b", "\ufeff", "\u2028", "\u2029", "\u00ad", "\U000e0041", "\ud800"),
]
PLAIN = ["hello ", "\n", "\t", "é", "漢字", "👩‍🚀", "می‌خواهم", "e\u0301", "{x}[b]", "c", "[", "0;", "m", "\\"]


class Recorder:
    """A terminal that notes everything it is told to do but to show text."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: name in ("draw", "linefeed", "tab") or self.done.append(name)


def hostile(draw: random.Random) -> bytes:
    parts = [draw.choice(draw.choice((ATTACKS, PLAIN))) for _ in range(draw.randrange(1, 12))]
    data = "".join(parts).encode("utf-8", "surrogatepass")
    noise = bytes(draw.randrange(256) for _ in range(draw.randrange(4)))
    at = draw.randrange(len(data) + 1)
    return data[:at] + noise + data[at:]


def test_an_emulator_sees_nothing_but_text_whatever_the_tokens_cut() -> None:
    draw = random.Random(1)
    tokenizer = tiny_tokenizer()
    recorder, screen = Recorder(), pyte.Screen(20, 5)
    terminals = pyte.Stream(recorder), pyte.Stream(screen)
    before = screen.mode.copy()
    for _ in range(3000):
        decoder, safe = StreamDecoder(tokenizer), SafeText()
        raw = shown = ""
        for token in [*hostile(draw), None]:  # a token a byte: everything is cut everywhere
            piece = decoder.finish() if token is None else decoder.push(token)
            harmless = safe.push(piece) + (safe.finish() if token is None else "")
            raw, shown = raw + piece, shown + harmless
            for terminal in terminals:
                terminal.feed(harmless)
        assert recorder.done == [], repr(raw)
        assert (screen.title, screen.icon_name, screen.mode) == ("", "", before)
        assert shown == safe_text(raw)
        shown.encode()


def test_the_emulator_would_notice() -> None:
    noticed = []
    for attack in ATTACKS:
        recorder = Recorder()
        pyte.Stream(recorder).feed(attack)
        noticed += [attack] if recorder.done else []
    assert {"\x1b[2J", "\x1b]0;owned\x07", "\x9b2J", "\r", "\b\b\b\b"} <= set(noticed)
    assert len(noticed) > 20


@given(
    st.text(st.sampled_from("a \r\n\t\x00\x1b\x7f\x9b\u202e\u200b\u200d\u3164é👩\ud800"), max_size=20),
    st.lists(st.integers(0, 20), max_size=6),
)
def test_pieces_give_what_the_whole_gives(text: str, cuts: list[int]) -> None:
    ends = [*sorted(min(cut, len(text)) for cut in cuts), len(text)]
    safe = SafeText()
    pieces = [safe.push(text[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    assert "".join(pieces) + safe.finish() == safe_text(text)
    assert not {*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0))} - {"\n", "\t"} & set(safe_text(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "^[[31mred"),
        ("a\x9b2J\x7f\x00", "a<U+009B>2J^?^@"),
        ("one\r\ntwo\rthree\r", "one\ntwo^Mthree^M"),
        ("\tx = 1\n", "\tx = 1\n"),
        ("abc\u202egnp.exe", "abc<U+202E>gnp.exe"),
        ("pass\u200bword pass\u200dword", "pass<U+200B>word pass<U+200D>word"),
        ("👩‍🚀 👨‍👩‍👧 ❤️‍🔥 क्‍ष می‌خواهم", "👩‍🚀 👨‍👩‍👧 ❤️‍🔥 क्‍ष می‌خواهم"),
        ("é\u200d\u200d", "é\u200d<U+200D>"),
        ("\U000e0041\u00ad\ufeff\u3164", "<U+E0041><U+00AD><U+FEFF><U+3164>"),
        ("שלום مرحبا 漢字 e\u0301 \u0600", "שלום مرحبا 漢字 e\u0301 \u0600"),
        ("\ud800", "\ufffd"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert safe_text(text) == shown


def test_a_line() -> None:
    assert safe_line("a\r\nb\tc\x1b[0m\r") == "a b c^[[0m^M"
