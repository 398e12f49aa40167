"""The calculator that models call: a parser of its own, never eval.

Two kinds of expression: arithmetic with + - * / and parentheses on decimal numbers, commas dropped; and
`'text'.count('x')`. Everything else has no result, nor has what is too long, too deep, too large or divided
by zero. Work is bounded by the bounds on the text, so there is no timeout and it runs in any thread.
"""

from __future__ import annotations

import re

MAX_LENGTH = 1000  # characters of an expression
MAX_DIGITS = 40  # of one number
MAX_DEPTH = 40  # nested parentheses and signs
MAX_RESULT = 1e60

_TOKEN = re.compile(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+|[-+*/()])")
_STRING = r"""(?:'([^'\\\n]*)'|"([^"\\\n]*)")"""
_COUNT = re.compile(rf"\s*{_STRING}\s*\.\s*count\s*\(\s*{_STRING}\s*\)\s*")


def calculate(expression: str) -> str | None:
    """The result as Python would write it (`81`, `2.5`), or None when there is none."""
    if len(expression) > MAX_LENGTH:
        return None
    count = _COUNT.fullmatch(expression)
    if count:
        text, part = (
            single if single is not None else double for single, double in (count.group(1, 2), count.group(3, 4))
        )
        return str(text.count(part))
    tokens = _tokens(expression.replace(",", ""))
    if tokens is None:
        return None
    try:
        parser = _Parser(tokens)
        value = parser.sum(0)
    except (_NoResult, ZeroDivisionError, OverflowError):
        return None
    return str(value) if parser.at_end else None


class _NoResult(Exception):
    """The expression is not arithmetic or breaks a bound."""


def _tokens(text: str) -> list[str] | None:
    """Numbers and signs, or None when there is anything else or nothing at all."""
    tokens, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            return None
        tokens.append(match[1])
        at = match.end()
    return tokens or None


class _Parser:
    """Recursive descent over tokens: sum := product (+- product)*, product := factor (*/ factor)*."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.at = 0

    @property
    def at_end(self) -> bool:
        return self.at == len(self.tokens)

    def take(self, wanted: str) -> str:
        """The next token if it is one of these characters, else ""."""
        if self.at_end or self.tokens[self.at] not in wanted:
            return ""
        self.at += 1
        return self.tokens[self.at - 1]

    def sum(self, depth: int) -> int | float:
        value = self.product(depth)
        while sign := self.take("+-"):
            other = self.product(depth)
            value = _bounded(value + other if sign == "+" else value - other)
        return value

    def product(self, depth: int) -> int | float:
        value = self.factor(depth)
        while sign := self.take("*/"):
            other = self.factor(depth)
            value = _bounded(value * other if sign == "*" else value / other)
        return value

    def factor(self, depth: int) -> int | float:
        if depth > MAX_DEPTH or self.at_end:
            raise _NoResult
        if sign := self.take("+-"):
            value = self.factor(depth + 1)
            return -value if sign == "-" else value
        if self.take("("):
            value = self.sum(depth + 1)
            if not self.take(")"):
                raise _NoResult
            return value
        return self.number()

    def number(self) -> int | float:
        text = self.tokens[self.at]
        if len(text) > MAX_DIGITS or text in "*/)":
            raise _NoResult
        self.at += 1
        return _bounded(float(text) if "." in text else int(text))


def _bounded(value: int | float) -> int | float:
    if abs(value) > MAX_RESULT:
        raise _NoResult
    return value
