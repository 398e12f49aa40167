"""Guesses of the next tokens from what the text has said before (prompt lookup), for answers that repeat it.

A guess is checked by the model in the pass that computes the next token anyway, and only what the model itself says
is kept: the ids are those of decoding one by one. A pass over five tokens takes a little longer than one over one, so
guessing pauses in texts where it does not help.
"""

from __future__ import annotations

NGRAM = 3  # tokens that must have occurred before
DRAFT = 4  # tokens that are guessed
FEWEST = 0.7  # guessed tokens that must come true on average
RECOVERY = 0.02  # by how much hope grows back with each token


class Lookup:
    """Guesses for one growing text."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, ...], int] = {}  # what stood where, its latest place
        self._indexed = NGRAM
        self._hope = 2.0  # mean number of guessed tokens that came true of late

    def draft(self, ids: list[int]) -> list[int]:
        """Up to `DRAFT` tokens that may come next; none where there is nothing to go by."""
        for end in range(self._indexed, len(ids)):  # the last ones are looked up, not indexed
            self._seen[tuple(ids[end - NGRAM : end])] = end
        self._indexed = max(self._indexed, len(ids))
        if self._hope < FEWEST:
            self._hope += RECOVERY
            return []
        place = self._seen.get(tuple(ids[-NGRAM:]))
        return [] if place is None else ids[place : place + DRAFT]

    def learn(self, accepted: int) -> None:
        """So many tokens of the last guess came true."""
        self._hope += 0.2 * (accepted - self._hope)
