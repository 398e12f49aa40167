"""What a model said, as a terminal may see it: text that shows and does nothing else.

Newlines and tabs stay. Every other control character is written out as `less` writes it, ESC as `^[`, so that no
sequence (CSI, OSC, DCS, in seven bits or eight) ever begins, wherever tokens cut it. Characters that no one sees and
that change what others look like (bidirectional overrides, zero-width spaces, tags) are written as `<U+202E>`. Joiners
stay where writing needs them: inside emoji and in scripts that join. Left out: markup, which is the affair of
whoever renders it.
"""

from __future__ import annotations

import unicodedata

REPLACEMENT = "\ufffd"
_JOINERS = "\u200c\u200d"
# Format characters that are seen: signs that stand before numbers, in Arabic, Syriac and Kaithi.
_SEEN = {
    *map(chr, range(0x600, 0x606)),
    *"\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd",
}
# Letters and symbols that are blank.
_BLANK = set("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f")


class SafeText:
    """Makes a text harmless that arrives in pieces; the results joined are `safe_text` of the whole."""

    def __init__(self) -> None:
        self._returned = False  # a carriage return whose newline may still come
        self._before = ""

    def push(self, text: str) -> str:
        """The next piece, harmless. A carriage return at its end waits: with a newline behind it, it is a line end."""
        if text.isascii() and text.isprintable() and not self._returned:  # most of them
            self._before = text[-1:] or self._before
            return text
        return "".join(map(self._show, text))

    def finish(self) -> str:
        """What has waited; then ready to start anew."""
        rest = "^M" if self._returned else ""
        self._returned, self._before = False, ""
        return rest

    def _show(self, char: str) -> str:
        before, self._before = self._before, char
        waited = "^M" if self._returned and char != "\n" else ""
        self._returned = char == "\r"
        if self._returned:
            return waited
        return waited + (char if char in _JOINERS and _joins(before) else _shown(char))


def safe_text(text: str) -> str:
    """A text that is there as a whole, harmless."""
    safe = SafeText()
    return safe.push(text) + safe.finish()


def safe_line(text: str) -> str:
    """A harmless text on one line: titles, tokens, what was typed."""
    return safe_text(text).replace("\n", " ").replace("\t", " ")


def _shown(char: str) -> str:
    code = ord(char)
    if char in "\n\t" or 0x20 <= code < 0x7F:
        return char
    if code < 0x20 or code == 0x7F:
        return f"^{chr(code ^ 0x40)}"
    category = unicodedata.category(char)
    if category == "Cs":
        return REPLACEMENT
    if category in ("Cc", "Zl", "Zp") or (category == "Cf" and char not in _SEEN) or char in _BLANK:
        return f"<U+{code:04X}>"
    return char


def _joins(before: str) -> bool:
    """Whether a joiner may follow this character: a letter, mark or symbol beyond ASCII, and no other joiner."""
    return not before.isascii() and unicodedata.category(before)[0] in "LMS" and before not in _BLANK
