"""The native half of the tokenizer: byte-level BPE training and encoding (crates/rustbpe)."""

from collections.abc import Callable, Sequence
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

class BpeTrainer:
    """Counts the chunks of documents, batch by batch, then learns merges from them.

    Args:
        pattern: the regular expression whose matches are the chunks.
        num_threads: threads that split and count; 0 means one per core. The merges do not depend on it.

    Raises:
        ValueError: the pattern is not valid.
    """

    def __init__(self, pattern: str, num_threads: int = 0) -> None: ...
    def count(self, documents: list[str]) -> None:
        """Adds documents. Other Python threads run meanwhile; on an error nothing is added.

        Raises:
            UnicodeEncodeError: a document holds lone surrogates.
            ValueError: the pattern gave up on a document.
        """

    def merge(self, num_merges: int, progress: Callable[[int], object] | None = None) -> list[tuple[int, int]]:
        """Learns up to `num_merges` merges from what was counted; fewer when no pair is left.

        Args:
            num_merges: how many to learn.
            progress: called with the number made so far, every 64 merges; an exception in it ends training.

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
