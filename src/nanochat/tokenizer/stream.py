"""Ids to text while they arrive.

A token may end inside a character; its bytes are held back until the rest arrives, so that what is shown
never has to be taken back. The pieces joined equal `Tokenizer.decode` of all ids.
"""

from __future__ import annotations

import codecs

from nanochat.tokenizer.tokenizer import Tokenizer


class StreamDecoder:
    """Decodes one sequence, token by token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text this token completes; empty while a character is incomplete.

        Raises:
            UsageError: an id that is not in the vocabulary.
        """
        return self._utf8.decode(self._tokenizer.decode_bytes([token_id]))

    def finish(self) -> str:
        """What is still held back, U+FFFD for a character that never came whole; then ready to start anew."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest
