"""Tool calls in a stream of tokens.

The model writes python_start, an expression, python_end; the result is forced in as output_start, result,
output_end, and the model goes on from there. An expression without a result forces nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from nanochat.engine.calculator import calculate
from nanochat.tokenizer.special import OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer

Tool = Callable[[str], str | None]
"""An expression in, its result out, or None; must not raise."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One use of a tool; `latency_s` is the time the tool took."""

    expression: str
    result: str | None
    latency_s: float


class ToolUse:
    """Follows the tokens of one row and says which ones must come next.

    Attributes:
        forced: tokens that must come next, before the model is asked again.
    """

    def __init__(self, tokenizer: Tokenizer, tool: Tool = calculate) -> None:
        self.tokenizer = tokenizer
        self.tool = tool
        self.forced: deque[int] = deque()
        self._expression: list[int] | None = None
        self._start, self._end = tokenizer.special(PYTHON_START), tokenizer.special(PYTHON_END)

    def push(self, token: int) -> ToolCall | None:
        """Take in the token that was chosen, forced or sampled; the call that it completes, if it does."""
        if token == self._start:
            self._expression = []
        elif token == self._end and self._expression is not None:
            expression, self._expression = self.tokenizer.decode(self._expression), None
            return self._call(expression)
        elif self._expression is not None:
            self._expression.append(token)
        return None

    def _call(self, expression: str) -> ToolCall:
        began = time.perf_counter()
        result = self.tool(expression)
        latency_s = time.perf_counter() - began
        if result is not None:
            special = self.tokenizer.special
            self.forced += [
                special(OUTPUT_START),
                *self.tokenizer.encode(result),
                special(OUTPUT_END),
            ]
        return ToolCall(expression, result, latency_s)
