"""What goes wrong with the file of conversations is said, wherever it happened, and the screen goes on.

Another window may have deleted a conversation, the disk may be full: nearly every key can meet that.
"""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.message import Message
from textual.message_pump import MessagePump

from nanochat.errors import NanochatError
from nanochat.runtime.safe_text import safe_line


def tell(app: App[Any], error: NanochatError) -> None:
    """What happened and what to do next."""
    lines = [safe_line(line) for line in (error.message, error.hint) if line]
    app.notify("\n".join(lines), severity="error", markup=False, timeout=12)


class Telling(MessagePump):
    """A part of the screen that outlives the errors of what it calls."""

    # There is no public place: whatever leaves this method ends the loop that takes messages, and the part is dead.
    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except NanochatError as error:
            tell(self.app, error)
