"""Tokens for the eye: what a token's bytes look like, and tokens with their ids in colour or as plain lines.

Nothing that a text holds can act on the terminal: control characters, escape sequences, invisible and
direction-changing characters are written as escapes (\\x1b, \\u202e), bytes that are no whole character as <0xE2>.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from nanochat.console.words import UNSEEN

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

# Alternating, so that neighbours can be told apart; the underline says "trained" without any colour.
_STYLES = {
    None: ("black on cyan", "black on yellow"),
    False: ("black on white", "black on cyan"),
    True: ("black on green underline", "black on bright_green underline"),
}
_SPECIAL = {None: "white on magenta", False: "white on magenta", True: "white on magenta underline"}
LEGEND_STYLES = (_STYLES[True][0], _STYLES[False][0], _SPECIAL[False])


@dataclass(frozen=True, slots=True)
class TokenView:
    """One token of a row. `trained` is its loss mask, None where there is none."""

    id: int
    text: str
    special: bool = False
    trained: bool | None = None


def token_text(data: bytes) -> str:
    """The bytes of one token as text; a byte that is not part of a whole character is written <0xE2>."""
    text = data.decode("utf-8", "surrogateescape")
    return "".join(f"<0x{ord(char) - 0xDC00:02X}>" if "\udc80" <= char <= "\udcff" else char for char in text)


def visible(text: str) -> str:
    """Text that cannot act on a terminal and in which nothing is invisible; blanks stay blanks."""
    return "".join(_visible(char, at) for at, char in enumerate(text))


def _visible(char: str, at: int) -> str:
    if char == " " or (char.isprintable() and char.isascii()):
        return char
    if char in _NAMED:
        return _NAMED[char]
    category = unicodedata.category(char)
    # other blanks look like a blank, or like nothing
    if category in UNSEEN or category == "Zs":
        code = ord(char)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    if at == 0 and category in ("Mn", "Me", "Mc"):
        return "◌" + char  # else it would sit on what stands before the token
    return char


def plain_lines(tokens: Iterable[TokenView]) -> list[str]:
    """One line a token: the mark of a trained one where there is a mask, the id, the text between bars."""
    tokens = list(tokens)
    width = max((len(str(token.id)) for token in tokens), default=0)
    lines = []
    for token in tokens:
        mark = "" if token.trained is None else "+ " if token.trained else "  "
        lines.append(f"{mark}{token.id:>{width}}  |{visible(token.text)}|")
    return lines


def coloured_lines(tokens: Sequence[TokenView], width: int) -> list[Text]:
    """Tokens side by side on alternating backgrounds, their ids below, in rows of at most `width` cells.

    A token with a line break ends its row, so that a text keeps its lines.
    """
    lines: list[Text] = []
    top, below, used = Text(), Text(), 0
    for index, token in enumerate(tokens):
        shown = visible(token.text)
        if cell_len(shown) > width:
            shown = set_cell_size(shown, max(width - 1, 1)) + "…"
        cells = max(cell_len(shown), len(str(token.id)))
        if used and used + 1 + cells > width:
            lines += [top, below, Text()]
            top, below, used = Text(), Text(), 0
        style = _SPECIAL[token.trained] if token.special else _STYLES[token.trained][index % 2]
        gap = " " if used else ""
        top.append(gap).append(shown, style).append(" " * (cells - cell_len(shown)))
        below.append(f"{gap}{token.id:<{cells}}", "dim")
        used += len(gap) + cells
        if "\n" in token.text:
            lines += [top, below, Text()]
            top, below, used = Text(), Text(), 0
    return [*lines, top, below] if used else lines[:-1]
