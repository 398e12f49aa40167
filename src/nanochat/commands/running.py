"""What commands that run stages share: the progress display on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nanochat.commands.options import human_console
from nanochat.runtime.events import OnEvent


@contextmanager
def show_progress(*stages: str) -> Iterator[OnEvent]:
    """A live display of these stages; the block's value consumes events."""
    from nanochat.console.progress import ConsoleProgress

    with ConsoleProgress(stages, console=human_console()) as progress:
        yield progress
