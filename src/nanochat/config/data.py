"""The dials of data and tokenizer."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.config.fields import option
from nanochat.config.mixture import parse_mixture
from nanochat.config.model import MIN_VOCAB
from nanochat.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class PocketDataConfig:
    """The corpus about a small true world, written on the spot."""

    name: str = option("pocket", "name of the data set")
    size: int = option(20_000_000, "text to write", unit="bytes", parse="count")
    shard_size: int = option(4_000_000, "text in a shard", unit="bytes", parse="count")
    seed: int = option(0, "another seed gives other text about the same world")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerConfig:
    """Training of a tokenizer."""

    name: str = option("pocket", "name of the tokenizer")
    data: str = option("pocket", "data set to learn from, or several by their shares of the text: a:0.9,b:0.1")
    vocab_size: int = option(32_768, "tokens, the nine special ones included", parse="count")
    max_chars: int = option(2_000_000_000, "characters to read at most", parse="count")
    doc_cap: int = option(10_000, "characters of a document to read at most", parse="count")
    threads: int = option(0, "threads that count; 0: one per core")

    def __post_init__(self) -> None:
        parse_mixture(self.data)
        if self.vocab_size < MIN_VOCAB:
            raise UsageError(
                f"vocab_size ({self.vocab_size}) must be at least {MIN_VOCAB}: 256 bytes and 9 special tokens",
                "try --vocab-size 4096",
            )
        if self.max_chars < 1 or self.doc_cap < 1:
            raise UsageError(
                f"max_chars ({self.max_chars}) and doc_cap ({self.doc_cap}) must be at least 1",
                "try --max-chars 2B --doc-cap 10K",
            )
        if self.threads < 0:
            raise UsageError(f"threads ({self.threads}) must be at least 0", "leave --threads out: one per core")
