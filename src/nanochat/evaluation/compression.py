"""How well a tokenizer packs text: bytes per token, beside the vocabularies of GPT-2 and GPT-4.

More bytes in a token mean a longer memory and less work for the same text; a larger vocabulary buys them.
Figures of models with different tokenizers are only comparable per byte, which is why bpb exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from nanochat.data.dataset import DataSet
from nanochat.data.shards import read_group, row_groups
from nanochat.evaluation.vocabularies import Vocabulary
from nanochat.tokenizer.tokenizer import Tokenizer

# tiktoken's engine panics on a million blanks in a row; no figure depends on where a giant is cut.
_PIECE_CHARS = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """Tokens that one vocabulary needs for a text. `difference` is ours against it: 0.1 is 10% more bytes a token."""

    tokens: int
    bytes_per_token: float
    difference: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compression:
    """One row of the comparison. `others` by name, as in `vocabularies.NAMES`."""

    name: str
    bytes: int
    ours: Count
    others: dict[str, Count]


def compare(name: str, texts: Iterable[str], tokenizer: Tokenizer, others: Mapping[str, Vocabulary]) -> Compression:
    """Encode the same texts with ours and the others.

    Args:
        name: of the row.
        texts: each is encoded by itself; read once.
        tokenizer: ours.
        others: by name.
    """
    size, ours, theirs = 0, 0, dict.fromkeys(others, 0)
    for text in _pieces(texts):
        size += len(text.encode())
        ours += len(tokenizer.encode(text))
        for other, vocabulary in others.items():
            theirs[other] += len(vocabulary.encode_ordinary(text))
    return Compression(
        name=name,
        bytes=size,
        ours=_count(size, ours),
        others={other: _count(size, tokens, ours) for other, tokens in theirs.items()},
    )


def data_texts(dataset: DataSet, max_chars: int) -> dict[str, Iterator[str]]:
    """The first `max_chars` characters of the training shards and of the validation shard, by row name.

    Raises:
        DamagedError: a shard cannot be read; raised while the texts are drawn.
    """
    return {
        "train": _first_chars(dataset.train, max_chars),
        "validation": _first_chars((dataset.validation,), max_chars),
    }


def _count(size: int, tokens: int, ours: int | None = None) -> Count:
    difference = tokens / ours - 1 if ours else None
    return Count(tokens=tokens, bytes_per_token=size / tokens if tokens else 0.0, difference=difference)


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        # lone surrogates have no bytes to count
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        for start in range(0, len(text), _PIECE_CHARS):
            yield text[start : start + _PIECE_CHARS]


def _first_chars(shards: tuple[Path, ...], max_chars: int) -> Iterator[str]:
    left = max_chars
    for path in shards:
        for group in range(row_groups(path)):
            for text in read_group(path, group):
                yield text[:left]
                left -= len(text)
                if left <= 0:
                    return
