"""Split patterns for Hugging Face, whose engine is Oniguruma with the syntax of Ruby; ours is that of Rust.

The same pattern can mean something else there: `{1,3}+` repeats a repetition, `$` also matches before the end of
a line, `\\w` has other members, `(?i:ss)` matches one letter. What can be said otherwise is translated; anything
that is not known to mean the same is refused, since wrong ids are worse than none.
"""

from __future__ import annotations

import re

from nanochat.errors import UsageError

# Measured over all of Unicode: the same characters in both engines.
_ESCAPES = re.compile(r"\\(?:[rntfsSdD]|[pP]\{\w+\}|[pP][A-Z]|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|[^\w\s])", re.ASCII)
_GROUPS = re.compile(r"\((?:\?(?::|i:|=|!|<=|<!|>))?(?!\?)")
_COUNT = re.compile(r"\{\d+(?:,\d*)?\}", re.ASCII)
# Letters that fold to one letter in Oniguruma: ß, ﬀ and their like.
_FOLDED = ("ss", "ff", "fi", "fl", "st")


def to_oniguruma(pattern: str) -> str:
    """The pattern of a tokenizer as Hugging Face must read it.

    Raises:
        UsageError: it uses something that is not known to mean the same there; the place is named.
    """
    lowered = pattern.lower()
    if "(?i:" in pattern and any(pair in lowered for pair in _FOLDED):
        raise _refused(pattern, lowered.index(next(pair for pair in _FOLDED if pair in lowered)))
    out: list[str] = []
    starts: list[int] = []  # of open groups, in `out`
    atom = 0  # where in `out` the last atom begins
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "(":
            match = _GROUPS.match(pattern, at)
            if not match:
                raise _refused(pattern, at)
            starts.append(len(out))
            piece = match[0]
        elif char == ")":
            if not starts:
                raise _refused(pattern, at)
            atom, piece = starts.pop(), char
        elif char in "*+?{":
            piece = _quantifier(pattern, at)
            if piece.startswith("{") and piece.endswith("+"):
                out.insert(atom, "(?>")
                out.append(f"{piece[:-1]})")
                at += len(piece)
                continue
        else:
            piece = _atom(pattern, at)
            atom = len(out)
        out.append({"^": r"\A", "$": r"\z"}.get(piece, piece))
        at += len(piece)
    return "".join(out)


def _atom(pattern: str, at: int) -> str:
    if pattern[at] == "\\":
        match = _ESCAPES.match(pattern, at)
        if not match:
            raise _refused(pattern, at)
        return match[0]
    return _class(pattern, at) if pattern[at] == "[" else pattern[at]


def _class(pattern: str, at: int) -> str:
    """`[...]` without another class in it and without set operations."""
    end = at + 1 + (pattern[at + 1 : at + 2] == "^")
    while end < len(pattern) and pattern[end] != "]":
        if pattern[end] == "[" or pattern[end : end + 2] in ("&&", "--", "~~"):
            raise _refused(pattern, end)
        end += len(_atom(pattern, end))
    if end >= len(pattern) or pattern[end - 1] in "[^":  # a bracket that comes first is read in two ways
        raise _refused(pattern, at)
    return pattern[at : end + 1]


def _quantifier(pattern: str, at: int) -> str:
    """`*`, `+`, `?` or `{n,m}`, with the `+` or `?` that makes it possessive or lazy."""
    match = _COUNT.match(pattern, at)
    piece = match[0] if match else pattern[at]
    mode = pattern[at + len(piece) : at + len(piece) + 1]
    if piece == "{" or (mode == "?" and "," not in piece and match):  # `{3}?` is optional there
        raise _refused(pattern, at)
    return piece + mode if mode and mode in "+?" else piece


def _refused(pattern: str, at: int) -> UsageError:
    return UsageError(
        f"{pattern[at : at + 12]!r} at position {at} of the split pattern may mean something else to Hugging Face",
        "use --format tiktoken, which reads the pattern as it is",
    )
