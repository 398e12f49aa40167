"""The same merges as rustbpe 0.1.0, on real text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import rustbpe

from nanochat.importing.texts import find_texts, read_texts
from nanochat.tokenizer.special import PATTERN
from nanochat.tokenizer.train import TextBatch, train_tokenizer

EVERYTHING = 10**12
# 65,536 first: the smaller ones are its beginning, and have to come out when asked for alone, too.
VOCAB_SIZES = (65_536, 32_768, 4_096)


def peer_tokens(texts: list[str], vocab_size: int, pattern: str = PATTERN) -> list[bytes]:
    """What rustbpe learns: the bytes of all tokens in the order of their ids, the nine special ones left out."""
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(iter(texts), vocab_size - 9, pattern=pattern)
    ranks = sorted(tokenizer.get_mergeable_ranks(), key=lambda item: item[1])
    return [bytes(token) for token, _ in ranks]


def our_tokens(
    texts: list[str] | list[TextBatch], vocab_size: int, threads: int, pattern: str = PATTERN
) -> list[bytes]:
    tokenizer = train_tokenizer(
        texts, vocab_size, doc_cap=EVERYTHING, max_chars=EVERYTHING, num_threads=threads, pattern=pattern
    )
    ranks = tokenizer.ranks()
    return sorted(ranks, key=ranks.__getitem__)


def check(shards: list[Path]) -> None:
    texts = [text for path in shards for text in pq.read_table(path, columns=["text"])["text"].to_pylist()]
    peer = peer_tokens(texts, VOCAB_SIZES[0])
    assert len(peer) == VOCAB_SIZES[0] - 9
    for vocab_size, threads in zip(VOCAB_SIZES, (1, 2, 8), strict=True):
        assert our_tokens(list(read_texts(shards)), vocab_size, threads) == peer[: vocab_size - 9]
    assert our_tokens(texts, 4_096, 2) == peer[: 4_096 - 9]


def test_base_data(test_data: Path) -> None:
    check(sorted((test_data / "data" / "base_data").glob("*.parquet"))[:2])


@pytest.mark.soak
def test_all_of_base_data(test_data: Path) -> None:
    folder = test_data / "data" / "base_data"
    assert len(find_texts([folder])) == 6  # the last one is for validation; here it counts too
    check(sorted(folder.glob("*.parquet")))


@pytest.mark.parametrize(
    ("pattern", "vocab_size"),
    [
        (PATTERN, 32_768),
        (PATTERN.replace("{1,2}", "{1,3}"), 4_096),
        (r"\p{L}+|\p{N}|[^\p{L}\p{N}]+", 4_096),
    ],
)
def test_multilingual(test_data: Path, pattern: str, vocab_size: int) -> None:
    with gzip.open(test_data / "data" / "multilingual.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    peer = peer_tokens(texts, vocab_size, pattern)
    for threads in (1, 2, 8):
        assert our_tokens(texts, len(peer) + 9, threads, pattern) == peer
