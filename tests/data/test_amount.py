"""The size of a data set in tokens, without reading it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.data.amount import estimate_tokens
from nanochat.data.dataset import DataSet
from nanochat.data.pocket import write_pocket
from nanochat.data.shards import read_group, row_groups
from nanochat.tokenizer.train import learn


def test_it_is_near_the_truth(tmp_path: Path) -> None:
    write_pocket(tmp_path, size_bytes=900_000, seed=1, shard_bytes=100_000)
    dataset = DataSet.open(tmp_path)
    texts = [text for path in dataset.train for group in range(row_groups(path)) for text in read_group(path, group)]
    tokenizer = learn(texts, 600).tokenizer
    truth = sum(len(ids) + 1 for ids in tokenizer.encode_batch(texts))
    assert estimate_tokens(dataset, tokenizer) == pytest.approx(truth, rel=0.05)


def test_empty_documents(tmp_path: Path) -> None:
    for number in range(2):
        pq.write_table(pa.table({"text": ["", ""]}), tmp_path / f"shard_{number:05}.parquet")
    tokenizer = learn(["some words"], 265).tokenizer
    assert estimate_tokens(DataSet.open(tmp_path), tokenizer) == 2
