"""Documents in the order of their keys, from disk: far more of them than fit into memory.

The key of a document is a keyed hash of its text. So sorting by it shuffles, equal texts become neighbours and can be
dropped, and the order depends on texts and seed alone: not on files, their order, threads or machine.

Documents are collected up to some tens of megabytes, sorted, and written to one file as a run: keys, lengths, texts.
As keys are evenly spread, a range of keys holds about the same share of every run, and lies in it in one piece; what
lies in the n-th range of all runs is read, put in order and given, range after range.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

RUN_BYTES = 24 << 20  # text that is collected before it is written; three times as much is in memory meanwhile
_RANGE_BYTES = 16 << 20
_RANGE_DOCUMENTS = 1 << 20
_WORD = 8

Words = npt.NDArray[np.uint64]


def keys_of(texts: pa.Array, seed: int) -> Words:
    """(n, 2) words: 16 bytes of BLAKE2b of each text, keyed by the seed.

    Args:
        texts: `large_string` without nulls.
        seed: another one gives another order.
    """
    data, ends = _buffers(texts)
    key = b"%d" % seed
    bounds = ends.tolist()
    digests = [blake2b(data[start:end], digest_size=16, key=key).digest() for start, end in pairwise(bounds)]
    return np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2).astype(np.uint64)


@dataclass(frozen=True, slots=True)
class Amount:
    """Documents and the bytes of their text."""

    documents: int = 0
    text_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """Where a run is in the file: high words of the keys, low words, ends of texts, texts."""

    start: int
    documents: int
    text_bytes: int

    def column(self, number: int) -> int:
        return self.start + number * _WORD * self.documents

    @property
    def texts(self) -> int:
        return self.column(3)


@dataclass(frozen=True, slots=True)
class _Part:
    """The piece of a run that lies in a range of keys."""

    run: _Run
    high: Words
    low: Words
    ends: Words  # one more than keys


class Spill:
    """Sorts documents by key on disk.

    Args:
        path: the file, which is made; whoever made the object removes it.
        unique: of several documents with the same key keep one.
    """

    def __init__(self, path: Path, *, unique: bool) -> None:
        self._file = path.open("w+b", buffering=0)
        self._unique = unique
        self._runs: list[_Run] = []
        self._held: list[tuple[Words, pa.Array]] = []
        self._held_bytes = 0
        self.added = Amount()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, keys: Words, texts: pa.Array) -> None:
        """Take in documents.

        Raises:
            OSError: the disk is full and their like.
        """
        size = _text_bytes(texts)
        self.added = Amount(self.added.documents + len(texts), self.added.text_bytes + size)
        self._held.append((keys, texts))
        self._held_bytes += size + len(texts) * 4 * _WORD
        if self._held_bytes >= RUN_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held; to be called after the last document."""
        if not self._held:
            return
        keys = np.concatenate([keys for keys, _ in self._held])
        texts: Any = pa.concat_arrays([texts for _, texts in self._held])
        self._held, self._held_bytes = [], 0
        order = _order(keys, self._unique)
        texts = texts.take(pa.array(order))
        data, ends = _buffers(texts)
        run = _Run(self._file.tell(), len(order), int(ends[-1] - ends[0]))
        for column in (keys[order, 0], keys[order, 1], (ends[1:] - ends[0]).astype(np.uint64)):
            self._write(np.ascontiguousarray(column).data.cast("B"))
        self._write(data[int(ends[0]) : int(ends[-1])])
        self._runs.append(run)

    def total(self) -> Amount:
        """What `in_order` will give, told from the keys alone."""
        documents = text_bytes = 0
        for parts in self._ranges():
            keys, lengths = _joined(parts)
            kept = _order(keys, self._unique)
            documents += len(kept)
            text_bytes += int(lengths[kept].sum())
        return Amount(documents, text_bytes)

    def in_order(self) -> Iterator[tuple[Words, pa.Array]]:
        """All documents in the order of their keys, with these, in lots of some tens of megabytes at most."""
        for parts in self._ranges():
            keys, _ = _joined(parts)
            order = _order(keys, self._unique)
            kept = np.zeros(len(keys), bool)
            kept[order] = True
            texts = []
            first = 0
            for part in parts:
                mask = kept[first : first + len(part.high)]
                first += len(part.high)
                if mask.any():
                    texts.append(self._texts(part, mask))
            if texts:
                # places among the kept ones, of which alone the texts were read
                places = np.cumsum(kept) - 1
                yield keys[order], pa.concat_arrays(texts).take(pa.array(places[order]))

    def _texts(self, part: _Part, mask: npt.NDArray[np.bool_]) -> pa.Array:
        start, end = int(part.ends[0]), int(part.ends[-1])
        data = self._read(part.run.texts + start, end - start)
        ends = (part.ends - part.ends[0]).astype(np.int64)
        array = pa.LargeStringArray.from_buffers(len(mask), pa.py_buffer(ends), pa.py_buffer(data))
        return array if mask.all() else array.filter(pa.array(mask))

    def _ranges(self) -> Iterator[list[_Part]]:
        documents = sum(run.documents for run in self._runs)
        text_bytes = sum(run.text_bytes for run in self._runs)
        count = max(1, -(-text_bytes // _RANGE_BYTES), -(-documents // _RANGE_DOCUMENTS))
        at = [0] * len(self._runs)
        for number in range(1, count + 1):
            bound = (number << 64) // count
            parts = []
            for index, run in enumerate(self._runs):
                end = self._below(run, at[index], bound, 1 / (count - number + 1))
                if end > at[index]:
                    parts.append(self._part(run, at[index], end))
                at[index] = end
            if parts:
                yield parts

    def _below(self, run: _Run, at: int, bound: int, share: float) -> int:
        """The first document of a run, not before `at`, whose key is `bound` or more; `share` of the rest is less."""
        if bound >= 1 << 64:
            return run.documents
        while at < run.documents:
            count = min(int((run.documents - at) * share * 1.1) + 64, run.documents - at)
            less = int(np.searchsorted(self._words(run.column(0) + _WORD * at, count), np.uint64(bound)))
            at += less
            if less < count:
                break
        return at

    def _part(self, run: _Run, start: int, end: int) -> _Part:
        count = end - start
        high, low = (self._words(run.column(number) + _WORD * start, count) for number in (0, 1))
        before = 1 if start else 0
        ends = self._words(run.column(2) + _WORD * (start - before), count + before)
        return _Part(run, high, low, ends if before else np.concatenate([np.zeros(1, np.uint64), ends]))

    def _words(self, at: int, count: int) -> Words:
        return np.frombuffer(self._read(at, count * _WORD), np.uint64)

    def _read(self, at: int, size: int) -> bytes:
        self._file.seek(at)
        pieces = []
        while size:
            piece = self._file.read(size)
            if not piece:
                raise OSError(f"{self._file.name} is shorter than was written")
            pieces.append(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[self._file.write(data) :]


def spread_duplicates(spill: Spill, path: Path) -> Spill:
    """The same documents with keys of their own for the second and further ones of equal texts.

    Their keys are hashes of the first one's and a number, so equal texts lie apart and the order is still one of
    texts and seed alone.
    """
    spread = Spill(path, unique=False)
    try:
        for keys, texts in spill.in_order():
            same = np.flatnonzero((keys[1:] == keys[:-1]).all(axis=1)) + 1
            number, last = 0, -1
            keys, before = keys.copy(), keys
            for row in same.tolist():
                number = number + 1 if row == last + 1 else 1
                last = row
                digest = blake2b(b"%d" % number, digest_size=16, key=before[row].astype(">u8").tobytes()).digest()
                keys[row] = np.frombuffer(digest, ">u8")
            spread.add(keys, texts)
        spread.flush()
    except BaseException:
        spread.__exit__()
        raise
    return spread


def _order(keys: Words, unique: bool) -> npt.NDArray[np.int64]:
    """Indices that sort the keys, without the second and further ones of equal keys where asked."""
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    if unique and len(order) > 1:
        ordered = keys[order]
        order = order[np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])]
    return order


def _joined(parts: list[_Part]) -> tuple[Words, Words]:
    keys = np.stack([np.concatenate([part.high for part in parts]), np.concatenate([part.low for part in parts])], 1)
    return keys, np.concatenate([np.diff(part.ends) for part in parts])


def _buffers(texts: pa.Array) -> tuple[memoryview, npt.NDArray[np.int64]]:
    """The bytes of all texts, and where each begins and the last one ends."""
    buffers: list[Any] = texts.buffers()
    if not len(texts):
        return memoryview(b""), np.zeros(1, np.int64)
    ends = np.frombuffer(memoryview(buffers[1]), np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(buffers[2] or b""), ends


def _text_bytes(texts: pa.Array) -> int:
    _, ends = _buffers(texts)
    return int(ends[-1] - ends[0])
