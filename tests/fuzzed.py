"""Texts made to trip a tokenizer, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from nanochat.tokenizer.special import SPECIAL_TOKENS

PLANES = [(0, 0xD7FF), (0xE000, 0xFFFF), *((plane << 16, (plane << 16) + 0xFFFF) for plane in range(1, 17))]
LOOK_ALIKES = [*SPECIAL_TOKENS, "<|endoftext|>", "<|", "|>", "<", "|", "bos", "<|bos|", "<|BOS|>", "<| bos |>"]
PIECES = [
    *LOOK_ALIKES, " ", "  ", "\n", "\r", "\r\n", "\t", "\x0b", "\x85", "\xa0", "\u2028", "\u3000", "\0", "\ufeff",
    "'", "'s", "'LL", "'ſ", "a", "the", " the", "Hello", "aaaa", "é", "e\u0301", "ß", "한국어", "ไทย", "हिन्दी", "中文",
    "𝒜", "1", "12345", "٣", "½", "-", "...", "!?", "_", "🙂", "👩‍👩‍👧", "🇩🇪", "\ufffd", "def f(x):", "https://a.b/c?d=e",
]  # fmt: skip


def _every_plane(draw: random.Random) -> str:
    return "".join(chr(draw.randint(*draw.choice(PLANES))) for _ in range(draw.randint(1, 24)))


def _one_plane(draw: random.Random) -> str:
    first, last = draw.choice(PLANES)
    first = draw.randint(first, last)
    return "".join(chr(draw.randint(first, min(first + 256, last))) for _ in range(draw.randint(1, 24)))


def _pieces(draw: random.Random) -> str:
    return "".join(draw.choices(PIECES, k=draw.randint(1, 16)))


def _look_alikes(draw: random.Random) -> str:
    return "".join(draw.choices(LOOK_ALIKES, k=draw.randint(1, 8)))


def _ascii(draw: random.Random) -> str:
    return "".join(chr(draw.choice((draw.randint(32, 126), draw.randint(0, 127)))) for _ in range(draw.randint(0, 60)))


def _random_bytes(draw: random.Random) -> str:
    return draw.randbytes(draw.randint(0, 60)).decode(draw.choice(("utf-8", "latin-1")), errors="replace")


def _cut_utf8(draw: random.Random) -> str:
    data = _pieces(draw).encode()
    start, end = sorted((draw.randint(0, len(data)), draw.randint(0, len(data))))
    return data[start:end].decode(errors="replace")


def _run(draw: random.Random) -> str:
    run = draw.choice(PIECES) * draw.randint(1, 90)
    return draw.choice(PIECES) + run + draw.choice(PIECES)


def _surrogates(draw: random.Random) -> str:
    return "".join(draw.choice((chr(draw.randint(0xD800, 0xDFFF)), "a", " ")) for _ in range(draw.randint(1, 9)))


KINDS: tuple[Callable[[random.Random], str], ...] = (
    _every_plane, _one_plane, _pieces, _pieces, _look_alikes, _ascii, _random_bytes, _cut_utf8, _run, _surrogates,
)  # fmt: skip


def strings(count: int, seed: int) -> Iterator[str]:
    """`count` texts, of every kind in turn."""
    draw = random.Random(seed)
    for number in range(count):
        yield KINDS[number % len(KINDS)](draw)


LONG = {
    "letters": "a" * 10**6,
    "spaces": " " * 10**6,
    "line ends": "\n" * 300_000,
    "a letter of two bytes": "é" * 10**5,
    "random bytes": random.Random(1).randbytes(300_000).decode("latin-1"),
    "random characters": "".join(random.Random(2).choices([chr(code) for code in range(0x4E00, 0x9FFF)], k=10**5)),
    "random letters": "".join(random.Random(3).choices("abcdefghijklmnopqrstuvwxyz", k=10**5)),
}
"""Single chunks, or nearly, of up to a million characters."""
