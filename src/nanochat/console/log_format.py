"""For whom this command writes on stderr: lines for people, or a line of JSON for each event.

It is known in two steps: what the words of the command say, so that even an error in them has the right form, and then
what the command has resolved from flag, environment and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from itertools import pairwise

LOG_FORMAT: ContextVar[str] = ContextVar("log_format", default="text")
FLAG = "--log-format"


def named_in(words: Sequence[str]) -> str:
    """The format that these words of a command line ask for, read or not: text or json."""
    ours = words[: words.index("--")] if "--" in words else words
    asks = f"{FLAG}=json" in ours or (FLAG, "json") in pairwise(ours)
    return "json" if asks else "text"


def wants_json() -> bool:
    """Whether every line of stderr must be JSON."""
    return LOG_FORMAT.get() == "json"
