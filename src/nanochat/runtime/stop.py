"""Stopping a run politely: the first signal asks, Ctrl-C after it insists."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

# Windows has no SIGUSR1
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class CutShort(Exception):
    """Work that may be left half done was, because a stop is asked for."""


class StopRequest:
    """While the block runs, SIGINT, SIGTERM and SIGUSR1 set `requested` instead of killing.

    The training loop looks at `requested` at each step boundary, saves and leaves with `Interrupted`; an evaluation
    takes its batches through `until`. A SIGINT after that ends the process at once, also in the middle of a long call
    of a library, for the system itself acts on it. SIGTERM and SIGUSR1, which batch systems send ahead of a time limit,
    only ever ask: they may come twice, as from `timeout`, which tells both the process and its group. Outside the main
    thread, where Python cannot install handlers, nothing is changed and `requested` stays False.
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

    def until(self, things: Iterable[T]) -> Iterator[T]:
        """The same things one by one, or `CutShort` before the next when a stop is asked for."""
        for thing in things:
            if self.requested:
                raise CutShort
            yield thing

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
