from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.dataset import DataSet
from nanochat.evaluation.compression import compare, data_texts
from nanochat.evaluation.passages import PASSAGES
from nanochat.tokenizer.tokenizer import Tokenizer

BYTES = Tokenizer({bytes([byte]): byte for byte in range(256)})


class Words:
    """A vocabulary with a token for every `size` bytes."""

    n_vocab = 1

    def __init__(self, size: int) -> None:
        self.size = size

    def encode_ordinary(self, text: str) -> list[int]:
        return [0] * (len(text.encode()) // self.size)


def test_figures() -> None:
    row = compare("x", ["aé" * 8, "", "b" * 8], BYTES, {"two": Words(2), "four": Words(4)})
    assert (row.name, row.bytes) == ("x", 32)
    assert (row.ours.tokens, row.ours.bytes_per_token, row.ours.difference) == (32, 1.0, None)
    assert (row.others["two"].tokens, row.others["two"].bytes_per_token) == (16, 2.0)
    # ours holds half, and a quarter, of the bytes in each token
    assert row.others["two"].difference == pytest.approx(-0.5)
    assert row.others["four"].difference == pytest.approx(-0.75)


def test_better_than_theirs_is_positive() -> None:
    merged = Tokenizer({**BYTES.ranks(), b"aa": 256})
    row = compare("x", ["a" * 100], merged, {"bytes": Words(1)})
    assert row.ours.bytes_per_token == 2.0
    assert row.others["bytes"].difference == pytest.approx(1.0)


def test_nothing_to_measure() -> None:
    row = compare("x", [], BYTES, {"two": Words(2)})
    assert (row.bytes, row.ours.tokens, row.ours.bytes_per_token) == (0, 0, 0.0)
    assert row.others["two"].difference is None


def test_giants_and_lone_surrogates() -> None:
    row = compare("x", [" " * 1_200_000, "\ud800"], BYTES, {"one": Words(1)})
    assert row.bytes == row.ours.tokens == row.others["one"].tokens == 1_200_003


def test_data(tmp_path: Path) -> None:
    for index, texts in enumerate((["abc", None, "defg"], ["hij"], ["xyz"])):
        pq.write_table(pa.table({"text": texts}), tmp_path / f"shard_{index}.parquet", row_group_size=2)
    dataset = DataSet.open(tmp_path)
    assert {name: list(texts) for name, texts in data_texts(dataset, 100).items()} == {
        "train": ["abc", "", "defg", "hij"],
        "validation": ["xyz"],
    }
    assert list(data_texts(dataset, 5)["train"]) == ["abc", "", "de"]
    assert list(data_texts(dataset, 3)["train"]) == ["abc"]


def test_the_passages_are_of_many_kinds() -> None:
    assert {"news", "code", "maths", "science"} < set(PASSAGES)
    assert len(PASSAGES) >= 9
    for name, text in PASSAGES.items():
        assert len(text.encode()) > 300, name
        row = compare(name, [text], BYTES, {})
        assert BYTES.decode(BYTES.encode(text)) == text
        assert row.bytes == row.ours.tokens
