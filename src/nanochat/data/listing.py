"""The data sets that exist and what is in them, read from manifests, and from footers where these do not say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np

from nanochat.data.manifest import MANIFEST, DataManifest, ShardEntry, read_manifest
from nanochat.data.shards import Texts, count_rows, read_texts, row_groups, text_bytes_about
from nanochat.errors import DamagedError, MissingError, NanochatError
from nanochat.runtime.files import translate_os_errors
from nanochat.runtime.paths import NAME, Paths

State = Literal["ok", "incomplete", "damaged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardDetails:
    """One file of a data set.

    Attributes:
        name: of the file.
        split: what it is for.
        documents: in it; None where nobody can tell.
        text_bytes: of these; without a manifest about that.
        size_bytes: on disk; 0 where it is missing.
        state: whether it is there, in the size of the manifest, with a footer that can be read.
    """

    name: str
    split: Literal["train", "val"]
    documents: int | None
    text_bytes: int | None
    size_bytes: int
    state: Literal["ok", "missing", "damaged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSetDetails:
    """One data set.

    Attributes:
        name: of its folder.
        folder: where it is.
        source: what it was made by or of: pocket, import, a data set of the hub; "" without a manifest.
        made_by: the command; "" without a manifest.
        validation: name of the shard for validation.
        documents: in all shards; None where a shard does not say.
        text_bytes: of these.
        size_bytes: on disk.
        state: incomplete where a shard is missing, damaged where one or the manifest is.
        shards: in name order.
    """

    name: str
    folder: Path
    source: str
    made_by: str
    validation: str
    documents: int | None
    text_bytes: int | None
    size_bytes: int
    state: State
    shards: tuple[ShardDetails, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundDocument:
    """A document and where it is: `at` is the byte of the text that was looked for, 0 where none was."""

    shard: str
    row_group: int
    row: int
    at: int
    text: str


def data_set_names(paths: Paths) -> list[str]:
    """Folders that could be data sets, by name."""
    folder = paths.base / "data"
    with translate_os_errors(folder):
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir())


def list_data_sets(paths: Paths) -> list[DataSetDetails]:
    """All data sets, those without a single shard left out."""
    found = []
    for name in data_set_names(paths):
        details = describe(paths.data(name))
        if details.shards:
            found.append(details)
    return found


def open_folder(paths: Paths, name: str) -> Path:
    """The folder of a data set.

    Raises:
        MissingError: it has neither shards nor a manifest.
    """
    folder = paths.data(name)
    with translate_os_errors(folder):
        if not (folder / MANIFEST).exists() and not any(folder.glob("shard_*.parquet")):
            there = [entry.name for entry in list_data_sets(paths)]
            hint = f"there are: {', '.join(there)}" if there else "nanochat data import PATH, or nanochat data pocket"
            raise MissingError(f"there is no data set {name!r} in {folder.parent}", hint)
    return folder


def describe(folder: Path) -> DataSetDetails:
    """What a folder has; nothing of it is an error."""
    manifest: DataManifest | None = None
    state: State = "ok"
    try:
        manifest = read_manifest(folder)
    except DamagedError:
        state = "damaged"
    with translate_os_errors(folder):
        there = {path.name for path in folder.glob("shard_*.parquet")}
    names = sorted({*manifest.files, manifest.validation} if manifest else there)
    validation = manifest.validation if manifest else (names[-1] if len(names) > 1 else "")
    shards = tuple(_shard(folder / name, manifest, validation) for name in names)
    if any(shard.state == "damaged" for shard in shards):
        state = "damaged"
    elif state == "ok" and (any(shard.state == "missing" for shard in shards) or len(shards) < 2):
        state = "incomplete"
    return DataSetDetails(
        name=folder.name,
        folder=folder,
        source=str(manifest.origin.get("repo") or next(iter(manifest.origin), "")) if manifest else "",
        made_by=manifest.made_by if manifest else "",
        validation=validation,
        documents=_sum(shard.documents for shard in shards),
        text_bytes=_sum(shard.text_bytes for shard in shards),
        size_bytes=sum(shard.size_bytes for shard in shards),
        state=state,
        shards=shards,
    )


def choose_documents(folder: Path, count: int, seed: int) -> list[FoundDocument]:
    """Some documents at random, other ones with another seed.

    Raises:
        DamagedError: a shard cannot be read.
    """
    shards = [folder / shard.name for shard in describe(folder).shards if shard.state == "ok"]
    rows = [count_rows(path) for path in shards]
    ends = np.cumsum(rows)
    chosen = Random(seed).sample(range(sum(rows)), min(count, sum(rows)))
    return [
        _document(shards[shard], number - int(ends[shard] - rows[shard]))
        for number in chosen
        for shard in [int(np.searchsorted(ends, number, "right"))]
    ]


def search(folder: Path, text: str) -> Iterator[FoundDocument]:
    """The documents that have `text` in them, in order, read row group by row group.

    Raises:
        DamagedError: a shard cannot be read.
    """
    needle = text.encode("utf-8", "replace")
    for shard in describe(folder).shards:
        path = folder / shard.name
        for group in range(row_groups(path)) if shard.state != "missing" else ():
            for first, texts in read_texts(path, group):
                for row, at, found in _found(texts, needle):
                    yield FoundDocument(shard=shard.name, row_group=group, row=first + row, at=at, text=found)


def _found(texts: Texts, needle: bytes) -> Iterator[tuple[int, int, str]]:
    """Row, place and text of each document that has the bytes in it."""
    offsets, data = texts.offsets, texts.data.tobytes()
    base, at = int(offsets[0]), 0
    while (at := data.find(needle, at)) >= 0:
        row = int(np.searchsorted(offsets, at + base, "right")) - 1
        start, end = int(offsets[row]) - base, int(offsets[row + 1]) - base
        if at + len(needle) > end:  # it begins in one document and ends in the next
            at += 1
            continue
        yield row, at - start, data[start:end].decode("utf-8", "replace")
        at = end


def _document(path: Path, number: int) -> FoundDocument:
    import pyarrow.parquet as pq

    about = pq.read_metadata(path)
    group = 0
    while number >= about.row_group(group).num_rows:
        number -= about.row_group(group).num_rows
        group += 1
    texts = next(read_texts(path, group, number))[1].part(0, 1)
    text = texts.data.tobytes().decode("utf-8", "replace")
    return FoundDocument(shard=path.name, row_group=group, row=number, at=0, text=text)


def _shard(path: Path, manifest: DataManifest | None, validation: str) -> ShardDetails:
    entry: ShardEntry | None = manifest.files.get(path.name) if manifest else None
    documents, text_bytes = (entry.documents, entry.text_bytes) if entry else (None, None)
    state: Literal["ok", "missing", "damaged"] = "ok"
    size = 0
    with translate_os_errors(path):
        if not path.exists():
            state = "missing"
        else:
            size = path.stat().st_size
            if entry and entry.size_bytes != size:
                state = "damaged"
    if state == "ok" and (documents is None or text_bytes is None):
        try:
            documents = count_rows(path) if documents is None else documents
            text_bytes = text_bytes_about(path) if text_bytes is None else text_bytes
        except NanochatError:
            state = "damaged"
    return ShardDetails(
        name=path.name,
        split="val" if path.name == validation else "train",
        documents=documents,
        text_bytes=text_bytes,
        size_bytes=size,
        state=state,
    )


def _sum(values: Iterator[int | None]) -> int | None:
    known = list(values)
    return None if None in known else sum(value or 0 for value in known)
