"""Plain text and Markdown as documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from nanochat.importing.streams import Broken

Documents = Literal["auto", "file", "line", "paragraph"]

# A document of plain text: many lines, and few enough that the usual cap on documents leaves it whole.
PLAIN_CHARS = 8_000
LONGEST_CHARS = 4 << 20  # of a document that is not to be cut; 16 MiB at most in UTF-8

_BLANK_LINE = re.compile(r"\n[ \t\r]*\n\s*")


def plain_documents(texts: Iterator[str], how: Documents) -> Iterator[str]:
    """Documents of a text that comes in blocks.

    Args:
        texts: the blocks.
        how: "auto" is the whole text, cut into documents of at most 8,000 characters where it is longer: behind a
            blank line in the second half, else behind a line, else anywhere; nothing is lost. "file" is the same with
            four million. "line" and "paragraph" (between blank lines) leave out the white space around each.

    Raises:
        Broken: as the blocks do, after the documents before it.
    """
    if how == "auto":
        yield from _pieces(texts, PLAIN_CHARS)
    elif how == "file":
        yield from _pieces(texts, LONGEST_CHARS)
    else:
        yield from _separated(texts, re.compile("\n") if how == "line" else _BLANK_LINE)


def _pieces(texts: Iterator[str], longest: int) -> Iterator[str]:
    broken: list[Broken] = []
    rest = ""
    for block in _whole(texts, broken):
        rest += block
        start = 0
        while len(rest) - start > longest:
            end = _end(rest, start, longest)
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest
    if broken:
        raise broken[0]


def _end(text: str, start: int, longest: int) -> int:
    half, limit = start + longest // 2, start + longest
    for sign in ("\n\n", "\n"):
        found = text.rfind(sign, half if sign == "\n\n" else start, limit)
        if found >= 0:
            return found + len(sign)
    return limit


def _separated(texts: Iterator[str], border: re.Pattern[str]) -> Iterator[str]:
    broken: list[Broken] = []
    rest = ""
    for block in _whole(texts, broken):
        rest += block
        start = 0
        for found in border.finditer(rest):
            if found.end() == len(rest):  # white space may go on in the next block
                break
            yield rest[start : found.start()].strip()
            start = found.end()
        rest = rest[start:]
        while len(rest) > LONGEST_CHARS:
            end = _end(rest, 0, LONGEST_CHARS)
            yield rest[:end].strip()
            rest = rest[end:]
    if rest:
        yield rest.strip()
    if broken:
        raise broken[0]


def _whole(texts: Iterable[str], broken: list[Broken]) -> Iterator[str]:
    """The blocks; what breaks them off is put into `broken`, so that what was read is not lost with it."""
    try:
        yield from texts
    except Broken as error:
        broken.append(error)
