"""Events on stderr for programs: one object of JSON a line, as in a run's `events.jsonl`, in ASCII.

Python's warnings become notices. Not covered: what C libraries and other processes write to the same stream.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, TextIO

from nanochat.console.words import safe
from nanochat.runtime.events import Event, Notice, record_of
from nanochat.runtime.launch.ending import Ending


class JsonLines:
    """Writes events; use it as a context manager and call it with each of them. A reader that has gone is no error."""

    def __init__(self) -> None:
        self._warnings = warnings.catch_warnings()

    def __enter__(self) -> Self:
        self._warnings.__enter__()
        warnings.showwarning = self._on_warning
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._warnings.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Write one event."""
        write_record(record_of(event))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is painted here that could be in the way of a question."""
        yield

    def _on_warning(
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        self(Notice(stage="", level="warning", message=f"{category.__name__}: {safe(str(message))}"))


def write_ending(ending: Ending) -> None:
    """The last line of a command that failed."""
    about = {"message": ending.message, "hint": ending.hint, "exit_code": ending.exit_code}
    trace = {"traceback": ending.trace} if ending.trace else {}
    write_record({"event": "Error", "time": round(time.time(), 3), **about, **trace})


def write_record(record: Mapping[str, Any]) -> None:
    """One line on stderr, in one piece: several threads write."""
    with suppress(OSError, ValueError):
        sys.stderr.write(json.dumps(record) + "\n")
        sys.stderr.flush()
