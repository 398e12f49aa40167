"""How many tokens a data set holds, without reading it: whether a run will see its text more than once."""

from __future__ import annotations

from nanochat.data.shards import DataSet, count_documents, read_texts
from nanochat.tokenizer.tokenizer import Tokenizer

SAMPLE_BYTES = 200_000  # of text, encoded in a few hundredths of a second


def estimate_tokens(dataset: DataSet, tokenizer: Tokenizer) -> int:
    """Tokens of the training shards, with a bos for each document.

    Documents are counted by the files' footers; their mean length, and tokens per byte, are those of the first row
    group of a shard in the middle. That is right within some percent where shards are alike.

    Raises:
        DamagedError: a shard is not readable.
    """
    documents = count_documents(dataset)
    texts = read_texts(dataset.train[len(dataset.train) // 2], 0)
    sample = bytes(texts.data[:SAMPLE_BYTES]).decode("utf-8", errors="ignore")
    if not sample:
        return documents
    tokens_per_byte = len(tokenizer.encode(sample)) / len(sample.encode())
    return round(documents * (len(texts.data) / len(texts) * tokens_per_byte + 1))
