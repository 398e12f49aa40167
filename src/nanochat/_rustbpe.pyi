"""The native half of the tokenizer: byte-level BPE training (crates/rustbpe)."""

from collections.abc import Callable

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
