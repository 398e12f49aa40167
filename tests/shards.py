"""Shards of a few words, and what damages them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_shard(path: Path, texts: Sequence[str | None], group: int = 2, column: str = "text") -> Path:
    """A parquet file with one column of text, `group` documents a row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: pa.array(texts, pa.string())}), path, row_group_size=group)
    return path


def damage_group(path: Path, group: int) -> None:
    """Overwrite the pages of a row group; footer and other groups stay as they are."""
    column = pq.ParquetFile(path).metadata.row_group(group).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    whole = bytearray(path.read_bytes())
    whole[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(whole)
