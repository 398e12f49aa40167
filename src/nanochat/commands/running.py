"""What commands that run stages share: the progress display on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nanochat.commands.options import human_console

if TYPE_CHECKING:
    from nanochat.console.progress import ConsoleProgress


@contextmanager
def show_progress(*stages: str) -> Iterator[ConsoleProgress]:
    """A live display of these stages; the block's value consumes events."""
    from nanochat.console.progress import ConsoleProgress

    with ConsoleProgress(stages, console=human_console()) as progress:
        yield progress
