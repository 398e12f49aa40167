"""Learn a vocabulary from documents.

Documents are cut to `doc_cap` characters, so that a few giants do not decide the vocabulary, and read until
`max_chars` are seen. They go to the Rust trainer in batches, so the text need never be in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from nanochat._rustbpe import BpeTrainer
from nanochat.errors import UsageError
from nanochat.tokenizer.special import PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

MIN_VOCAB_SIZE = 256 + len(SPECIAL_TOKENS)
DEFAULT_MAX_CHARS = 2_000_000_000
DEFAULT_DOC_CAP = 10_000

# Large enough to occupy every thread, small enough that Ctrl-C is answered in about a second.
_BATCH_CHARS = 8_000_000


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """How far training is: characters while `phase` is "read", merges while it is "merge"."""

    phase: Literal["read", "merge"]
    done: int
    total: int


def train_tokenizer(
    documents: Iterable[str],
    vocab_size: int,
    *,
    pattern: str = PATTERN,
    max_chars: int = DEFAULT_MAX_CHARS,
    doc_cap: int = DEFAULT_DOC_CAP,
    num_threads: int = 0,
    on_progress: Callable[[TrainProgress], object] | None = None,
) -> Tokenizer:
    """Learn a tokenizer; the same documents give the same one on any machine with any number of threads.

    Args:
        documents: read once, no further than needed; may be endless.
        vocab_size: number of ids, the 256 bytes and the nine special tokens included.
        pattern: cuts documents into chunks.
        max_chars: characters to read at most, after the cap.
        doc_cap: characters of a document that count.
        num_threads: threads that read; 0 means one per core.
        on_progress: told after every batch and every few merges; an exception in it ends training.

    Raises:
        UsageError: a vocabulary below 265, or larger than the text can fill; an invalid pattern.
    """
    if vocab_size < MIN_VOCAB_SIZE:
        raise UsageError(
            f"vocab_size ({vocab_size}) must be at least {MIN_VOCAB_SIZE}: 256 bytes and "
            f"{len(SPECIAL_TOKENS)} special tokens",
            "try --vocab-size 4096",
        )
    if max_chars < 1 or doc_cap < 1:
        raise UsageError(
            f"max_chars ({max_chars}) and doc_cap ({doc_cap}) must be at least 1",
            f"try --max-chars {DEFAULT_MAX_CHARS} --doc-cap {DEFAULT_DOC_CAP}",
        )
    report = on_progress or (lambda progress: None)
    try:
        trainer = BpeTrainer(pattern, num_threads)
    except ValueError as error:
        raise UsageError(str(error), "mend the pattern, or leave it out") from error

    read = 0
    for batch in _batches(_capped(documents, max_chars, doc_cap)):
        _count(trainer, batch)
        read += sum(map(len, batch))
        report(TrainProgress("read", read, max_chars))

    wanted = vocab_size - MIN_VOCAB_SIZE
    merges = trainer.merge(wanted, lambda made: report(TrainProgress("merge", made, wanted)))
    if len(merges) < wanted:
        raise UsageError(
            f"the text ({read:,} characters) gives only {len(merges)} merges; vocab_size {vocab_size} needs {wanted}",
            f"give more text, or --vocab-size {MIN_VOCAB_SIZE + len(merges)} or less",
        )
    return Tokenizer(_ranks(merges), pattern)


def _capped(documents: Iterable[str], max_chars: int, doc_cap: int) -> Iterator[str]:
    """Documents cut to the cap, until `max_chars` are used up; nothing is drawn beyond."""
    left = max_chars
    for document in documents:
        document = document[: min(doc_cap, left)]
        yield document
        left -= len(document)
        if left == 0:
            return


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document) + 1  # so that a batch of empty documents ends too
        if size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _count(trainer: BpeTrainer, batch: list[str]) -> None:
    try:
        trainer.count(batch)
    except UnicodeEncodeError:
        # Lone surrogates cannot be UTF-8. `Tokenizer.encode` replaces them in the same way.
        trainer.count([text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in batch])
    except ValueError as error:
        raise UsageError(str(error), f"try --doc-cap {DEFAULT_DOC_CAP}, or another pattern") from error


def _ranks(merges: Iterable[tuple[int, int]]) -> dict[bytes, int]:
    """Bytes of every token to its id. No two merges spell the same bytes: where the first one's spelling
    stood alone, it was merged then.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return {token: rank for rank, token in enumerate(tokens)}
