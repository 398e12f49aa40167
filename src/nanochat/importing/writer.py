"""Documents, as they come, into parquet shards of about equal size, the last of which is for validation."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nanochat.data.manifest import ShardEntry, shard_name
from nanochat.importing.spill import Amount
from nanochat.runtime.files import sha256_file

GROUP_DOCUMENTS = 1_024
GROUP_BYTES = 16 << 20  # a row group of giants has fewer documents: readers hold one in memory

_FAIR_BYTES = 500_000  # of validation text: what a small data set should have, up to a tenth of it
_SCHEMA = pa.schema([("text", pa.string())])


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard: what it is for and how many documents it gets."""

    split: Literal["train", "val"]
    documents: int


def plan_shards(total: Amount, shard_bytes: int, validation_share: float) -> list[ShardPlan]:
    """Shards for so many documents, at least two of them.

    Args:
        total: at least two documents.
        shard_bytes: text of a shard for training, about that or less.
        validation_share: of the documents, below 1; 0 for a hundredth, or more where that is less than half a
            megabyte of text, up to a tenth.
    """
    mean = max(total.text_bytes / total.documents, 1)
    share = total.documents * validation_share
    if not validation_share:
        share = max(total.documents / 100, min(total.documents / 10, _FAIR_BYTES / mean))
    validation = min(max(round(share), 1), total.documents - 1)
    training = total.documents - validation
    count = min(max(1, math.ceil(training * mean / shard_bytes)), training)
    bounds = [training * number // count for number in range(count + 1)]
    return [ShardPlan("train", end - start) for start, end in itertools.pairwise(bounds)] + [
        ShardPlan("val", validation)
    ]


def write_shards(
    texts: Iterable[pa.Array], plan: list[ShardPlan], folder: Path, on_written: Callable[[int], None] | None = None
) -> list[ShardEntry]:
    """Write `shard_00000.parquet` and so on into a folder that no one else reads yet.

    Args:
        texts: arrays of `large_string`, as many documents in all as planned.
        plan: the shards.
        folder: is there, and has no shards.
        on_written: told of bytes of text after each row group.

    Raises:
        OSError: the disk is full and their like.
    """
    source = _Documents(texts)
    return [_write_shard(folder / shard_name(number), shard, source, on_written) for number, shard in enumerate(plan)]


def _write_shard(
    path: Path, shard: ShardPlan, source: _Documents, on_written: Callable[[int], None] | None
) -> ShardEntry:
    written = left = 0
    with path.open("wb") as file:
        left = shard.documents
        # statistics and dictionaries are of no use for texts that are all different; checksums tell which page is bad
        options: Any = {"use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
        with pq.ParquetWriter(file, _SCHEMA, compression="zstd", **options) as writer:
            while left:
                group = source.take(min(left, GROUP_DOCUMENTS), GROUP_BYTES)
                writer.write_table(pa.table([group.cast(pa.string())], schema=_SCHEMA))
                size = _sizes(group)
                left -= len(group)
                written += size
                if on_written:
                    on_written(size)
        file.flush()
        os.fsync(file.fileno())
    return ShardEntry(
        size_bytes=path.stat().st_size,
        sha256=sha256_file(path),
        split=shard.split,
        documents=shard.documents,
        text_bytes=written,
    )


class _Documents:
    """Gives documents in lots of any size."""

    def __init__(self, texts: Iterable[pa.Array]) -> None:
        self._texts = iter(texts)
        self._held: Any = pa.array([], pa.large_string())

    def take(self, count: int, size: int) -> pa.Array:
        """The next `count`, or fewer when they are `size` bytes; at least one."""
        taken: list[pa.Array] = []
        while count and (not taken or size > 0):
            if not len(self._held):
                self._held = next(self._texts)
                continue
            ends = _ends(self._held)[1:]
            fitting = int(np.searchsorted(ends, size, "right"))
            some = min(count, len(self._held), max(fitting, 0 if taken else 1))
            if not some:
                break
            taken.append(self._held.slice(0, some))
            self._held = self._held.slice(some)
            count -= some
            size -= int(ends[some - 1])
        return taken[0] if len(taken) == 1 else pa.concat_arrays(taken)


def _ends(texts: pa.Array) -> Any:
    """Where each text begins and the last one ends, counted from the first one's beginning."""
    buffers: list[Any] = texts.buffers()
    ends = np.frombuffer(memoryview(buffers[1]), np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return ends - ends[0]


def _sizes(texts: pa.Array) -> int:
    return int(_ends(texts)[-1])
