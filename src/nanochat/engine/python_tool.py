"""The tool of a model that may write programs: Python in the sandbox, instead of the calculator.

A program is told what it prints, and what its last line is worth where that is an expression, as `print` shows it.
One that fails is told its error: the model may try again.
"""

from __future__ import annotations

import ast

from nanochat.engine.tools import LONGEST_RESULT
from nanochat.errors import NanochatError
from nanochat.runtime.sandbox.limits import Limits
from nanochat.runtime.sandbox.result import Outcome, SandboxResult
from nanochat.runtime.sandbox.run import run_python

LIMITS = Limits(output_bytes=4 * LONGEST_RESULT)  # a character has four bytes at most
LONGEST_SOURCE = 10_000  # characters; a context holds no more of them that make sense


def run(source: str) -> str | None:
    """What a program says; None where it says nothing.

    Raises:
        NanochatError: this machine could not run it.
    """
    if len(source) > LONGEST_SOURCE:
        return f"the program is longer than {LONGEST_SOURCE} characters"
    result = run_python(_showing(source), limits=LIMITS)
    if result.outcome is Outcome.INFRASTRUCTURE:
        raise NanochatError(f"the sandbox does not work: {result.detail}", "answer without it: --tool calculator")
    text = result.stdout.strip()
    if not result.passed:
        text = "\n".join(filter(None, (text, _complaint(result))))
    return text or None


def _showing(source: str) -> str:
    """The program, its last line printed where it is an expression with a value; source that is no Python as it is."""
    try:
        tree = ast.parse(source.strip())
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            return source
        shown = f"_ = ({ast.unparse(last.value)})\nif _ is not None: print(_)"
        return "\n".join([*(ast.unparse(line) for line in tree.body[:-1]), shown])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return source


def _complaint(result: SandboxResult) -> str:
    """The error of the program in one line."""
    if result.outcome is not Outcome.FAILED:
        return result.outcome.value
    return result.stderr.strip().rpartition("\n")[2] or result.detail
