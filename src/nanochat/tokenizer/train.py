"""Learn a vocabulary from documents.

Documents are cut to `doc_cap` characters, so that a few giants do not decide the vocabulary, and read until
`max_chars` are seen. They go to the Rust trainer in batches, so the text need never be in memory as a whole; from
Arrow buffers they go without becoming Python strings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from nanochat._rustbpe import BadUtf8, BpeTrainer, Texts
from nanochat.config.model import MIN_VOCAB
from nanochat.errors import DamagedError, UsageError
from nanochat.tokenizer.special import PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULT_MAX_CHARS = 2_000_000_000
DEFAULT_DOC_CAP = 10_000

# Large enough to occupy every thread; counting it takes some hundredths of a second.
_BATCH_CHARS = 8_000_000


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Documents that are no Python strings.

    Attributes:
        texts: an Arrow array of strings (`string` or `large_string`), where a null is an empty document, or what
            our own reader of parquet files made.
        file: where they come from, for messages.
        first: number of the first one in that file, counted from 1.
    """

    texts: pa.Array | Texts
    file: str
    first: int = 1


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """How far training is: characters while `phase` is "read", merges while it is "merge".

    Attributes:
        bytes_read: bytes of UTF-8 counted so far.
        bytes_per_s: mean speed of counting, reading included.
        left_s: seconds to the end of this phase at the mean speed; None when that is unknown.
    """

    phase: Literal["read", "merge"]
    done: int
    total: int
    bytes_read: int = field(default=0, compare=False)
    bytes_per_s: float = field(default=0.0, compare=False)
    left_s: float | None = field(default=None, compare=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """A tokenizer and what it took to learn it.

    Attributes:
        documents: how many were read.
        chars: their characters, after the cap.
        bytes: the same in UTF-8.
        unique_chunks: distinct chunks among them.
        counting_s: seconds of reading and counting.
        merging_s: seconds of merging.
    """

    tokenizer: Tokenizer
    documents: int
    chars: int
    bytes: int
    unique_chunks: int
    counting_s: float
    merging_s: float


def train_tokenizer(
    documents: Iterable[str | TextBatch],
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
        documents: texts or batches of them; read once, no further than needed; may be endless.
        vocab_size: number of ids, the 256 bytes and the nine special tokens included.
        pattern: cuts documents into chunks.
        max_chars: characters to read at most, after the cap.
        doc_cap: characters of a document that count.
        num_threads: threads that count; 0 means one per core.
        on_progress: told after every batch and every few merges; an exception in it ends training.

    Raises:
        UsageError: a vocabulary below 265, or larger than the text can fill; an invalid pattern.
        DamagedError: a document of a batch is not UTF-8.
    """
    return learn(
        documents,
        vocab_size,
        pattern=pattern,
        max_chars=max_chars,
        doc_cap=doc_cap,
        num_threads=num_threads,
        on_progress=on_progress,
    ).tokenizer


def learn(
    documents: Iterable[str | TextBatch],
    vocab_size: int,
    *,
    pattern: str = PATTERN,
    max_chars: int = DEFAULT_MAX_CHARS,
    doc_cap: int = DEFAULT_DOC_CAP,
    num_threads: int = 0,
    on_progress: Callable[[TrainProgress], object] | None = None,
) -> Learned:
    """`train_tokenizer` with its figures."""
    _check_sizes(vocab_size, max_chars, doc_cap, num_threads)
    started = time.perf_counter()
    reader = _Reader(pattern, num_threads, max_chars, doc_cap, on_progress or (lambda progress: None))
    reader.read(documents)
    counted = time.perf_counter()

    wanted = vocab_size - MIN_VOCAB
    try:
        merges = reader.trainer.merge(wanted, lambda made: reader.report_merges(made, wanted, counted))
    except OverflowError as error:
        raise UsageError(str(error), f"lower --max-chars; {reader.chars // 2} would be half of this text") from error
    if len(merges) < wanted:
        raise UsageError(
            f"the text ({reader.chars:,} characters) gives only {len(merges)} merges; "
            f"vocab_size {vocab_size} needs {wanted}",
            f"give more text, or --vocab-size {MIN_VOCAB + len(merges)} or less",
        )
    merged = time.perf_counter()
    return Learned(
        tokenizer=Tokenizer(_ranks(merges), pattern),
        documents=reader.documents,
        chars=reader.chars,
        bytes=reader.trainer.total_bytes,
        unique_chunks=reader.trainer.unique_chunks,
        counting_s=counted - started,
        merging_s=merged - counted,
    )


def _check_sizes(vocab_size: int, max_chars: int, doc_cap: int, num_threads: int) -> None:
    if vocab_size < MIN_VOCAB:
        raise UsageError(
            f"vocab_size ({vocab_size}) must be at least {MIN_VOCAB}: 256 bytes and "
            f"{len(SPECIAL_TOKENS)} special tokens",
            "try --vocab-size 4096",
        )
    if max_chars < 1 or doc_cap < 1:
        raise UsageError(
            f"max_chars ({max_chars}) and doc_cap ({doc_cap}) must be at least 1",
            f"try --max-chars {DEFAULT_MAX_CHARS} --doc-cap {DEFAULT_DOC_CAP}",
        )
    if num_threads < 0:
        raise UsageError(f"threads ({num_threads}) must be at least 0", "leave --threads out: one per core")


class _Reader:
    """Takes documents to the trainer, up to the limits, and tells how far it is."""

    def __init__(
        self,
        pattern: str,
        num_threads: int,
        max_chars: int,
        doc_cap: int,
        report: Callable[[TrainProgress], object],
    ) -> None:
        try:
            self.trainer = BpeTrainer(pattern, num_threads)
        except ValueError as error:
            raise UsageError(str(error), "mend the pattern, or leave it out") from error
        self.documents = 0
        self.chars = 0
        self._max_chars = max_chars
        self._doc_cap = doc_cap
        self._report = report
        self._started = time.perf_counter()
        self._counting_s = 0.0
        self._bytes = 0
        self._texts: list[str] = []  # not yet counted, already among `chars`
        self._waiting = 0

    def read(self, documents: Iterable[str | TextBatch]) -> None:
        """All documents, or as many as `max_chars` allows; nothing is drawn beyond."""
        for document in documents:
            if isinstance(document, str):
                self._add(document)
            else:
                self._flush()
                self._count_batch(document)
            if self.chars >= self._max_chars:
                break
        self._flush()

    def _add(self, text: str) -> None:
        text = text[: min(self._doc_cap, self._max_chars - self.chars)]
        self._texts.append(text)
        self.documents += 1
        self.chars += len(text)
        self._waiting += len(text) + 1  # so that a batch of empty documents ends too
        if self._waiting >= _BATCH_CHARS:
            self._flush()

    def _flush(self) -> None:
        if not self._texts:
            return
        texts, self._texts, self._waiting = self._texts, [], 0
        try:
            self.trainer.count(texts)
        except UnicodeEncodeError:
            # Lone surrogates cannot be UTF-8. `Tokenizer.encode` replaces them in the same way.
            self.trainer.count([text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts])
        except ValueError as error:
            raise _gave_up(error) from error
        self._report_chars()

    def _count_batch(self, batch: TextBatch) -> None:
        left = self._max_chars - self.chars
        try:
            if isinstance(batch.texts, Texts):
                documents, chars = self.trainer.count_texts(batch.texts, self._doc_cap, left)
            else:
                documents, chars = self._count_array(batch.texts, left)
        except BadUtf8 as error:
            _, document, byte = error.args
            raise DamagedError(
                f"{batch.file}: document {batch.first + document} is not UTF-8 (byte {byte})",
                "convert the text to UTF-8, or leave the file out",
            ) from error
        except ValueError as error:
            raise _gave_up(error) from error
        self.documents += documents
        self.chars += chars
        self._report_chars()

    def _count_array(self, array: pa.Array, left: int) -> tuple[int, int]:
        wide = _is_wide(array)
        validity, offsets, data = array.buffers()
        return self.trainer.count_arrow(
            data,
            offsets,
            validity,
            offset=array.offset,
            length=len(array),
            wide=wide,
            doc_cap=self._doc_cap,
            max_chars=left,
        )

    def _report_chars(self) -> None:
        self._bytes = self.trainer.total_bytes
        self._counting_s = max(time.perf_counter() - self._started, 1e-9)
        left = (self._max_chars - self.chars) * self._counting_s / self.chars if self.chars else None
        self._tell("read", self.chars, self._max_chars, left)

    def report_merges(self, made: int, wanted: int, since: float) -> None:
        """Merges made, of so many, since that time."""
        # The first merges are the slowest by far, so this is too much rather than too little.
        left = (wanted - made) * (time.perf_counter() - since) / made if made else None
        self._tell("merge", made, wanted, left)

    def _tell(self, phase: Literal["read", "merge"], done: int, total: int, left_s: float | None) -> None:
        speed = self._bytes / self._counting_s if self._bytes else 0.0
        self._report(TrainProgress(phase, done, total, bytes_read=self._bytes, bytes_per_s=speed, left_s=left_s))


def _is_wide(array: pa.Array) -> bool:
    """Are the offsets of 64 bits?

    Raises:
        UsageError: the array does not hold strings.
    """
    kind = str(array.type)
    if kind not in ("string", "large_string"):
        raise UsageError(f"documents must be strings, not {kind}", "cast the array to pyarrow.string()")
    return kind == "large_string"


def _gave_up(error: ValueError) -> UsageError:
    return UsageError(str(error), f"try --doc-cap {DEFAULT_DOC_CAP}, or another pattern")


def _ranks(merges: Iterable[tuple[int, int]]) -> dict[bytes, int]:
    """Bytes of every token to its id. No two merges spell the same bytes: where the first one's spelling
    stood alone, it was merged then.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    return {token: rank for rank, token in enumerate(tokens)}
