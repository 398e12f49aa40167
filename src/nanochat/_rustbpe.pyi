"""What is native: byte-level BPE (crates/rustbpe), and what locks up model-written code (crates/jail)."""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

__all__ = [
    "BadUtf8",
    "BpeEncoder",
    "BpeTrainer",
    "ParquetTexts",
    "Texts",
    "jail_adopt_orphans",
    "jail_die_with_parent",
    "jail_drop_capabilities",
    "jail_hide_memory",
    "jail_new_root",
    "jail_restrict_calls",
    "jail_restrict_files",
]

class BadUtf8(ValueError):
    """A document is not UTF-8. Arguments: the message, the document's index in the batch, the first bad byte."""

@final
class Texts:
    """Documents that were read together, as bytes that are yet to be checked."""

    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int:
        """Bytes of all documents."""

@final
class ParquetTexts:
    """Reads the column `text` of a parquet file, batch by batch. Other Python threads run meanwhile.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged.
        KeyError: it has no such column.
        NotImplementedError: it is nested, or compressed in an uncommon way; pyarrow may read it.
    """

    def __new__(cls, path: str | PathLike[str]) -> Self: ...
    @property
    def size(self) -> int:
        """Bytes that the column takes before compression."""

    def next(self, max_bytes: int) -> Texts | None:
        """The next documents, about `max_bytes` of them; None at the end. A null is an empty document.

        Raises:
            ValueError: the file is damaged.
        """

@final
class BpeTrainer:
    """Counts the chunks of documents, batch by batch, then learns merges from them.

    Ctrl-C is answered within a second in every call; a trainer whose `count` it ended is of no use any more.

    Args:
        pattern: the regular expression whose matches are the chunks.
        num_threads: threads that split and count; 0 means one per core. The merges do not depend on it.

    Raises:
        ValueError: the pattern is not valid.
    """

    def __new__(cls, pattern: str, num_threads: int = 0) -> Self: ...
    def count(self, documents: list[str], weight: int = 1) -> None:
        """Adds documents. Other Python threads run meanwhile; on an error nothing is added.

        Args:
            documents: the texts.
            weight: how often each is counted.

        Raises:
            UnicodeEncodeError: a document holds lone surrogates.
            ValueError: the pattern gave up on a document.
            OverflowError: bytes times weights exceed 64 bits.
        """

    def count_arrow(
        self,
        data: Buffer | None,
        offsets: Buffer | None,
        validity: Buffer | None,
        *,
        offset: int,
        length: int,
        wide: bool,
        doc_cap: int,
        max_chars: int,
    ) -> tuple[int, int]:
        """Adds documents that lie in Arrow buffers, without making strings of them. As `count` in all else.

        Nothing may write to the buffers meanwhile.

        Args:
            data: the bytes of all texts; None when all are empty.
            offsets: where each text begins, then where the last one ends, in bytes.
            validity: one bit per text, 0 for null, which is an empty text; None when there is no null.
            offset: the first text to read.
            length: how many texts.
            wide: the offsets have 64 bits, not 32 (`large_string`).
            doc_cap: characters of a document that count.
            max_chars: characters to read at most, after the cap.

        Returns:
            Documents read, the last of which may be cut short by `max_chars`, and their characters.

        Raises:
            BadUtf8: a document is not UTF-8.
            ValueError: the offsets do not fit the data; the pattern gave up on a document.
        """

    def count_texts(self, texts: Texts, doc_cap: int, max_chars: int) -> tuple[int, int]:
        """Adds documents that a `ParquetTexts` has read. As `count_arrow` in all else."""

    def merge(self, num_merges: int, progress: Callable[[int], object] | None = None) -> list[tuple[int, int]]:
        """Learns up to `num_merges` merges from what was counted; fewer when no pair is left.

        Args:
            num_merges: how many to learn.
            progress: called with the number made so far, every 64 merges or more often; an exception in it ends
                training. It cannot use this trainer.

        Returns:
            Pairs of ids; the n-th makes id 256 + n.
        """

    @property
    def unique_chunks(self) -> int:
        """Distinct chunks counted so far."""

    @property
    def total_bytes(self) -> int:
        """Bytes of UTF-8 text counted so far."""

@final
class BpeEncoder:
    """Text to ids and back.

    Args:
        tokens: the bytes of every token that text can become, in the order of their ids; all single bytes among them.
        pattern: the regular expression whose matches are the chunks that no token crosses.
        names: what further ids decode to. Text never becomes one of these.
        num_threads: threads for batches; 0 means one per core. The ids do not depend on it.

    Raises:
        ValueError: a missing byte, an empty or doubled token, or a pattern that is not valid.
    """

    def __new__(
        cls, tokens: Sequence[bytes], pattern: str, *, names: Sequence[bytes] = ..., num_threads: int = 0
    ) -> Self: ...
    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        Raises:
            UnicodeEncodeError: the text holds lone surrogates.
            ValueError: the pattern gave up on the text.
        """

    def encode_batch(self, texts: Sequence[str], num_threads: int | None = None) -> tuple[memoryview, memoryview]:
        """The ids of many texts in a row (the bytes of uint32), and where those of each begin (the bytes of int64, one
        more than texts). Views of memory that nothing else uses, for `numpy.frombuffer`.

        Args:
            texts: any number of them.
            num_threads: None means that of the encoder.

        Raises:
            UnicodeEncodeError: a text holds lone surrogates.
            ValueError: the pattern gave up on a text.
        """

    def encode_column(self, data: Any, offsets: Any, num_threads: int | None = None) -> tuple[memoryview, memoryview]:
        """`encode_batch` of a column of texts as Arrow keeps it.

        Args:
            data: the UTF-8 bytes of all texts (uint8).
            offsets: where each begins in them, and where the last ends (int32 or int64).
            num_threads: None means that of the encoder.

        Raises:
            ValueError: a text is not UTF-8 (its number and the byte are named), or the offsets do not fit the data.
        """

    def decode(self, ids: Sequence[int] | npt.NDArray[np.integer]) -> bytes:
        """The bytes of the tokens and names with these ids, joined.

        Raises:
            ValueError: an id that does not exist, which is named.
        """

def jail_die_with_parent(signal: int) -> None:
    """The kernel sends this process a signal when the thread that started it is gone. A change of user undoes it.

    Raises:
        OSError: the number is none of a signal, or the system is not Linux.
    """

def jail_adopt_orphans() -> None:
    """What descendants of this process leave behind when they end becomes its own child.

    Raises:
        OSError: the system is not Linux.
    """

def jail_hide_memory() -> None:
    """Nobody but root reads or traces this process from now on.

    Raises:
        OSError: the system is not Linux.
    """

def jail_drop_capabilities() -> None:
    """Gives up every capability for good, and with it that a program gains any.

    Raises:
        OSError: the system is not Linux.
    """

def jail_new_root(
    readable: Sequence[str | PathLike[str]],
    *,
    scratch: str | PathLike[str],
    bytes: int,
    files: int,
    owner: int,
    own_user: bool,
) -> None:
    """Puts this process into namespaces: it sees a root of its own, no network and, in the next process that it starts,
    no process but those that one starts.

    Args:
        readable: files and folders that are shown where they are; those that do not exist are left out.
        scratch: where an empty folder in memory is put, which is the working directory then.
        bytes: that fit into it.
        files: that fit into it.
        owner: user and group that it belongs to.
        own_user: take a user namespace too, which whoever is not root needs.

    Raises:
        OSError: what the kernel does not allow, and at which step. The process may be half way in, and must end.
    """

def jail_restrict_files(
    readable: Sequence[str | PathLike[str]], writable: Sequence[str | PathLike[str]], *, alone: bool
) -> bool:
    """Confines this process to some files, without TCP (Landlock).

    Args:
        readable: files and folders; those that do not exist are left out.
        writable: folders in which everything is allowed but to run files.
        alone: nor does it send signals to processes that are not confined with it. That includes the signal which the
            kernel sends its children when it dies.

    Returns:
        Whether the kernel has Landlock; where it has not, nothing changed.

    Raises:
        OSError: the kernel has it and refuses, or the system is not Linux.
    """

def jail_restrict_calls(*, start: bool, write: bool, signal: bool) -> None:
    """Confines this process to the system calls that a Python program needs (seccomp).

    Args:
        start: also to start processes and threads.
        write: also to open files for writing, make and remove them.
        signal: also to send signals to other processes.

    Raises:
        OSError: the kernel was built without it, or the system is not Linux.
    """
