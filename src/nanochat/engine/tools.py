"""Tool calls in a stream of tokens.

The model writes python_start, an expression, python_end; the result is forced in as output_start, result,
output_end, and the model goes on from there. An expression without a result forces nothing. A tool that this machine
could not run has its error as its result, for the model and for the person; whatever else a tool raises forces nothing:
it is foreign code, and no reason to end the answers of others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nanochat.engine.calculator import calculate
from nanochat.errors import NanochatError
from nanochat.tokenizer.special import OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer

Tool = Callable[[str], str | None]
"""An expression in, its result out, or None."""

LONGEST_RESULT = 2000  # characters that are forced in; the rest is cut off


def call_nothing(expression: str) -> None:
    """The tool of answers that may call none."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One use of a tool; `latency_s` is the time the tool took."""

    expression: str
    result: str | None
    latency_s: float


class ToolUse:
    """Follows the tokens of one row and says which ones must come next.

    Args:
        tokenizer: names the tokens that open and close a call.
        tool: what is called; None leaves calls without result.
    """

    def __init__(self, tokenizer: Tokenizer, tool: Tool | None = calculate) -> None:
        self.tokenizer = tokenizer
        self.tool = tool
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

    def forced(self, call: ToolCall) -> list[int]:
        """The tokens that must come behind a call."""
        if call.result is None:
            return []
        special = self.tokenizer.special
        return [special(OUTPUT_START), *self.tokenizer.encode(call.result), special(OUTPUT_END)]

    def _call(self, expression: str) -> ToolCall:
        began = time.perf_counter()
        try:
            result = self.tool(expression) if self.tool else None
        except NanochatError as error:
            result = f"error: {error.message}"
        except Exception:  # whatever foreign code raises
            result = None
        latency_s = time.perf_counter() - began
        return ToolCall(expression, None if result is None else result[:LONGEST_RESULT], latency_s)
