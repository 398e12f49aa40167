"""What came of a run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from nanochat.runtime.sandbox import verdicts


class Outcome(Enum):
    """How a run ended. Only `PASSED` is worth a reward; `INFRASTRUCTURE` says nothing about the program."""

    PASSED = verdicts.PASSED
    FAILED = verdicts.FAILED
    TIMED_OUT = verdicts.TIMED_OUT
    OUT_OF_MEMORY = verdicts.OUT_OF_MEMORY
    OUTPUT_LIMIT = verdicts.OUTPUT_LIMIT
    CRASHED = verdicts.CRASHED
    INFRASTRUCTURE = verdicts.INFRASTRUCTURE


class Isolation(IntEnum):
    """What holds a program in, weakest first; each includes what is below it."""

    NONE = 0
    PROCESS = verdicts.PROCESS
    SYSCALLS = verdicts.SYSCALLS
    FILES = verdicts.FILES
    FULL = verdicts.FULL

    @property
    def words(self) -> str:
        """The level, for people."""
        return _WORDS[self]


_WORDS = {
    Isolation.NONE: "none: this machine cannot run a program apart",
    Isolation.PROCESS: "process: limits of time, memory and output only",
    Isolation.SYSCALLS: "system calls: no network, no other programs, no writing; reads what the user reads",
    Isolation.FILES: "files: reads the Python library alone, writes nothing",
    Isolation.FULL: "full: sees no files, processes or network of this machine",
}


@dataclass(frozen=True, slots=True)
class SandboxResult:
    """One run.

    Attributes:
        outcome: how it ended.
        stdout: what it printed, cut at the limit; bytes that are no UTF-8 are replaced.
        stderr: likewise.
        isolation: what held it in.
        seconds: from the start of its processes to their end.
        detail: one line that says why it did not pass; empty when it did.
    """

    outcome: Outcome
    stdout: str
    stderr: str
    isolation: Isolation
    seconds: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the program did what was asked."""
        return self.outcome is Outcome.PASSED
