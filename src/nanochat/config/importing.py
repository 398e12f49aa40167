"""The dials of importing text."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import Literal

from nanochat.config.fields import option
from nanochat.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig:
    """Files of one's own as a data set."""

    name: str = option("mine", "name of the data set")
    column: str = option("", "column with the documents; by default text, else the only one with strings")
    documents: Literal["auto", "file", "line", "paragraph"] = option(
        "auto", "what is a document of plain text; auto: a file, cut where it is longer than 8,000 characters"
    )
    min_chars: int = option(1, "leave out shorter documents", unit="characters", parse="count")
    keep_duplicates: bool = option(False, "keep documents that are there already")
    validation_share: float = option(
        0.0, "share of the documents for validation; auto: 0.01, up to 0.1 of a small data set", parse="auto"
    )
    seed: int = option(0, "another seed gives another order")
    shard_size: int = option(250_000_000, "text in a shard", unit="bytes", parse="count")
    encoding: str = option("utf-8", "of the files, as Python names it, e.g. latin-1")

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise UsageError(
                f"validation_share ({self.validation_share}) must be from 0 to below 1", "try --validation-share 0.01"
            )
        if self.min_chars < 0 or self.shard_size < 1:
            raise UsageError(
                f"min_chars ({self.min_chars}) must be at least 0 and shard_size ({self.shard_size}) at least 1",
                "try --min-chars 200 --shard-size 250M",
            )
        try:
            "".encode(self.encoding)  # which refuses codecs that are none of text
            codecs.getincrementaldecoder(self.encoding)
        except (LookupError, ValueError):
            raise UsageError(
                f"there is no encoding {self.encoding!r} for text", "try utf-8, latin-1, cp1252 or shift_jis"
            ) from None
