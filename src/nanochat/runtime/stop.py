"""Stopping a run politely: the first signal asks, the second insists."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Self

# Windows has no SIGUSR1
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopRequest:
    """While the block runs, SIGINT, SIGTERM and SIGUSR1 set `requested` instead of killing.

    The training loop looks at `requested` at each step boundary, saves and leaves with `Interrupted`. A second SIGINT
    or SIGTERM ends the process at once as it would have without us; SIGUSR1, which batch systems send ahead of a time
    limit, only ever asks. Outside the main thread, where Python cannot install handlers, nothing is changed and
    `requested` stays False.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in SIGNALS:
            try:
                self._previous[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not the main thread
                return self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.requested = True
