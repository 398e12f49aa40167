"""Answers that are Python programs: run in the sandbox, and only where it holds them well enough.

What the sandbox can do depends on the machine. Where a model's code could read the user's files there, nothing is run
unless the user has said so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanochat.errors import NanochatError

ATTEMPTS = 3  # a machine that has no process left for a moment is no reason to end an evaluation

_FENCED = re.compile(r"```[ \t]*\w*[ \t]*\n(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Programs:
    """Runs programs that a model has written.

    Attributes:
        unsafe: also where the sandbox of this machine is weak.
    """

    unsafe: bool = False

    def prepare(self) -> None:
        """See that programs may be run here.

        Raises:
            MissingError: the sandbox of this machine is too weak.
        """
        if not self.unsafe:
            from nanochat.runtime.sandbox.run import require_isolation

            require_isolation()

    def passes(self, program: str, check: str) -> bool:
        """Whether a program passes its check.

        Args:
            program: the model's.
            check: assertions about what the program defines; trusted.

        Raises:
            MissingError: as `prepare`.
            NanochatError: the sandbox failed, which says nothing about the program.
        """
        self.prepare()
        from nanochat.runtime.sandbox.result import Outcome
        from nanochat.runtime.sandbox.run import check_python

        for _ in range(ATTEMPTS):
            result = check_python(program, check)
            if result.outcome is not Outcome.INFRASTRUCTURE:
                break
        if result.outcome is Outcome.INFRASTRUCTURE:
            raise NanochatError(
                f"a program could not be run: {result.detail or 'the sandbox failed'}",
                "that says nothing about the program: run the command again, or see docs/sandbox.md",
            )
        return result.outcome is Outcome.PASSED


def code_of(answer: str) -> str:
    """The first fenced block of an answer; all of it where there is none."""
    fenced = _FENCED.search(answer)
    return fenced[1] if fenced else answer
