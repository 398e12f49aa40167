"""How many tokens a data set holds, without reading it: whether a run will see its text more than once."""

from __future__ import annotations

from nanochat.data.dataset import DataSet, count_documents
from nanochat.data.shards import Texts, read_texts
from nanochat.errors import DamagedError
from nanochat.tokenizer.tokenizer import Tokenizer

SAMPLE_BYTES = 200_000  # of text, encoded in a few hundredths of a second


def estimate_tokens(dataset: DataSet, tokenizer: Tokenizer) -> int:
    """Tokens of the training shards, with a bos for each document.

    Documents are counted by the files' footers; their mean length, and tokens per byte, are those of the first row
    group of a shard in the middle. That is right within some percent where shards are alike.

    Raises:
        DamagedError: a footer is not readable, or no shard's first row group is.
    """
    documents = count_documents(dataset)
    texts = _sample(dataset)
    sample = bytes(texts.data[:SAMPLE_BYTES]).decode("utf-8", errors="ignore")
    if not sample:
        return documents
    tokens_per_byte = len(tokenizer.encode(sample)) / len(sample.encode())
    return round(documents * (len(texts.data) / len(texts) * tokens_per_byte + 1))


def _sample(dataset: DataSet) -> Texts:
    middle = len(dataset.train) // 2
    first_error = None
    for path in (*dataset.train[middle:], *dataset.train[:middle]):
        try:
            return next(read_texts(path, 0))[1]
        except DamagedError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error
