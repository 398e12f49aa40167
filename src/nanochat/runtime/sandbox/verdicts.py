"""The words for how a run ended, and the levels of isolation, as the processes inside use them.

They start for every run, so their modules do without `enum`, `dataclasses`, `typing`, `json` and `pathlib`: together
these took longer to import than everything else takes. `result` makes an enumeration of both.
"""

from __future__ import annotations

PASSED = "passed"
FAILED = "failed"
TIMED_OUT = "timed out"
OUT_OF_MEMORY = "out of memory"
OUTPUT_LIMIT = "output limit"
CRASHED = "crashed"
INFRASTRUCTURE = "infrastructure error"

PROCESS, SYSCALLS, FILES, FULL = 1, 2, 3, 4

Verdict = tuple[str, str]
"""One of the words above, and why in one line; empty for what has passed."""
