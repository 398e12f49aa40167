"""Files of every kind give their documents; bad ones are named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat._rustbpe import BpeTrainer, ParquetTexts, Texts
from nanochat.errors import DamagedError, MissingError, NanochatError, UsageError
from nanochat.importing import reading
from nanochat.importing.texts import find_texts, read_texts, size_of
from nanochat.tokenizer.train import TextBatch, learn

SOME = ["one two three", "", "zwei 🙂", "a\r\nb\0c", "x" * 5000, "one two three"]


def counts(batches: list[TextBatch]) -> tuple[int, int, int, list[bytes]]:
    """What a tokenizer learns of them, which tells two corpora apart."""
    learned = learn(batches, 272, max_chars=10**12, doc_cap=10**12)
    return learned.documents, learned.chars, learned.bytes, list(learned.tokenizer.ranks())


def expected(texts: list[str]) -> tuple[int, int, int, list[bytes]]:
    return counts([TextBatch(pa.array(texts, pa.string()), "")])


def write(path: Path, texts: list[str | None], kind: pa.DataType | None = None, **options: object) -> Path:
    pq.write_table(pa.table({"id": range(len(texts)), "text": pa.array(texts, kind or pa.string())}), path, **options)
    return path


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"row_group_size": 7, "use_dictionary": False, "data_page_version": "2.0"},
        {"data_page_size": 512, "write_batch_size": 3, "dictionary_pagesize_limit": 600},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}},
        {"use_dictionary": False, "column_encoding": {"text": "DELTA_LENGTH_BYTE_ARRAY"}},
    ],
)
def test_parquet_however_it_was_written(
    tmp_path: Path, compression: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts: list[str | None] = [*SOME, *(f"document {number} " * (number % 50) for number in range(500)), None, "end"]
    path = write(tmp_path / "a.parquet", texts, compression=compression, **options)
    want = expected([text or "" for text in texts])
    assert counts(list(read_texts([path]))) == want
    monkeypatch.setattr(reading, "BATCH_BYTES", 2000)
    batches = list(read_texts([path]))
    assert len(batches) > 20
    assert counts(batches) == want
    firsts = [batch.first for batch in batches]
    assert firsts[0] == 1
    assert [batch.first + len(batch.texts) for batch in batches] == [*firsts[1:], len(texts) + 1]


@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_common_parquet_is_read_by_our_own_reader(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "a.parquet", SOME, compression=compression)
    assert all(isinstance(batch.texts, Texts) for batch in read_texts([path]))
    with pytest.raises(NotImplementedError):
        ParquetTexts(write(tmp_path / "b.parquet", SOME, compression="gzip"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=40),
    st.integers(1, 9),
    st.integers(1, 60),
    st.booleans(),
)
def test_nulls_and_groups_and_batches_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str | None], group: int, batch: int, dictionary: bool
) -> None:
    path = tmp_path_factory.mktemp("a") / "a.parquet"
    write(path, texts, row_group_size=group, use_dictionary=dictionary)
    reader, trainer, other = ParquetTexts(path), BpeTrainer(r"(?s).+"), BpeTrainer(r"(?s).+")
    read = []
    while (found := reader.next(batch)) is not None:
        read.append(trainer.count_texts(found, 10**9, 10**9))
        assert found.nbytes >= read[-1][1]
    other.count([text or "" for text in texts])
    assert [sum(column) for column in zip(*read, strict=True)] == (
        [len(texts), sum(map(len, filter(None, texts)))] if texts else []
    )
    assert (trainer.unique_chunks, trainer.total_bytes) == (other.unique_chunks, other.total_bytes)
    assert trainer.merge(20) == other.merge(20)


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_columns_of_strings_of_every_type(tmp_path: Path, kind: pa.DataType) -> None:
    for compression in ("zstd", "gzip"):
        path = tmp_path / f"{compression}.parquet"
        pq.write_table(pa.table({"text": pa.array(SOME).cast(kind)}), path, compression=compression)
        assert counts(list(read_texts([path]))) == expected(SOME)


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_lines_of_json(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_BYTES", 12)
    path = tmp_path / f"a{suffix}"
    lines = [*(json.dumps({"n": 1, "text": text}) for text in SOME), '"alone"', '{"text": null}', "", '"\\ud800 x"']
    data = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    batches = list(read_texts([path]))
    assert counts(batches) == expected([*SOME, "alone", "", "\ufffd x"])
    assert [batch.first for batch in batches][:2] == [1, 2]


@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_plain_text_loses_nothing_and_is_cut_at_line_ends(tmp_path: Path, suffix: str) -> None:
    text = "".join(f"line {number} é\r\n" * (number % 9) for number in range(20_000)) + "x" * 30_000 + "\nend"
    path = tmp_path / f"a{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    found = [str(part) for batch in read_texts([path]) for part in batch.texts]
    assert "".join(found) == text
    assert max(map(len, found)) <= 8000
    assert all(part.endswith("\n") for part in found[:-10])


def test_what_is_read_of_folders(tmp_path: Path) -> None:
    for name in ("b.txt", "a.jsonl", "c.parquet", ".hidden.txt", "notes.odt"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.md").write_bytes(b"")
    assert [path.name for path in find_texts([tmp_path])] == ["a.jsonl", "b.txt", "c.parquet", "d.md"]
    shards = tmp_path / "shards"
    shards.mkdir()
    for number in range(3):
        (shards / f"shard_{number:05}.parquet").write_bytes(b"")
    found = find_texts([shards, tmp_path / "b.txt"])
    assert [path.name for path in found] == ["shard_00000.parquet", "shard_00001.parquet", "b.txt"]
    with pytest.raises(MissingError, match="nowhere"):
        find_texts([tmp_path / "nowhere"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty") as caught:
        find_texts([tmp_path / "empty"])
    assert "parquet" in caught.value.hint


def test_the_manifest_says_what_is_for_validation(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"shard_{number:05}.parquet", SOME)
    entry = {"size_bytes": 1, "sha256": "", "split": "train"}
    files = {f"shard_{number:05}.parquet": entry for number in range(3)}
    manifest = {"name": "a", "made_by": "", "validation": "shard_00000.parquet", "files": files}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert [path.name for path in find_texts([tmp_path])] == ["shard_00001.parquet", "shard_00002.parquet"]


def test_other_columns_and_kinds(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1, 2], "body": SOME[:2]}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text('n,body\n1,one two three\n2,""\n')
    (tmp_path / "a.json").write_text('[{"body": "one two three"}, {"body": null}]')
    (tmp_path / "a.md").write_text("one two three")
    for name in ("a.parquet", "a.csv", "a.json"):
        assert counts(list(read_texts([tmp_path / name]))) == expected(SOME[:2])
    assert counts(list(read_texts([tmp_path / "a.md"]))) == expected(SOME[:1])


def test_size_is_about_that_of_the_text(tmp_path: Path) -> None:
    texts = ["word " * 1000] * 20
    paths = [
        write(tmp_path / f"{kind}.parquet", texts, compression=kind, use_dictionary=False) for kind in ("zstd", "gzip")
    ]
    (tmp_path / "a.txt").write_bytes(b"x" * 500)
    assert 200_000 < size_of([*paths, tmp_path / "a.txt"]) < 210_000


def damaged(folder: Path, how: str) -> Path:
    path = write(folder / "a.parquet", [*SOME, *(f"text {number}" for number in range(3000))], compression="zstd")
    data = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "noise":
        path.write_bytes(b"\xff\0" * 500)
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "page":
        column = pq.ParquetFile(path).metadata.row_group(0).column(1)
        middle = column.dictionary_page_offset + column.total_compressed_size // 2
        data[middle : middle + 400] = bytes(400)
        path.write_bytes(data)
    elif how == "no column":
        pq.write_table(pa.table({"body": ["x"], "title": ["y"]}), path)
    elif how == "no column, gzip":
        pq.write_table(pa.table({"body": [1]}), path, compression="gzip")
    elif how == "numbers":
        pq.write_table(pa.table({"text": [1, 2]}), path)
    elif how == "lists":
        pq.write_table(pa.table({"text": [["a"], ["b"]]}), path)
    elif how == "latin":
        pq.write_table(pa.table({"text": pa.array([b"fine", b"caf\xe9"], pa.binary())}), path)
    elif how == "not json":
        path = folder / "a.jsonl"
        path.write_text('"fine"\n{"text": \n')
    elif how == "no text":
        path = folder / "a.jsonl"
        path.write_text('"fine"\n{"body": "x"}\n')
    elif how == "json in latin":
        path = folder / "a.jsonl"
        path.write_bytes(b'"fine"\n"caf\xe9"\n')
    elif how == "text in latin":
        path = folder / "a.txt"
        path.write_bytes(b"caf\xe9\n")
    else:
        path = folder / ("a.txt.gz" if "text" in how else "a.jsonl.gz")
        whole = gzip.compress(b'"fine"\n' * 1000)
        path.write_bytes(whole[:-12] if "cut" in how else b"no gzip at all")
    return path


@pytest.mark.parametrize(
    "how",
    [
        *("cut", "noise", "empty", "page", "no column", "no column, gzip", "numbers", "lists", "latin"),
        *("not json", "no text", "json in latin", "text in latin"),
        *("cut gz", "no gz", "cut gz text", "no gz text"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, how: str) -> None:
    path = damaged(tmp_path, how)
    with pytest.raises(
        UsageError if how in ("no column", "no column, gzip", "numbers", "lists") else DamagedError
    ) as caught:
        learn(read_texts([path]), 265)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    if how == "latin":
        assert "document 2 " in caught.value.message
    if how in ("not json", "no text", "json in latin"):
        assert f"{path}:2: " in caught.value.message


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.sampled_from(["zstd", "snappy", "none"]))
def test_no_damage_is_more_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, place: int, byte: int, compression: str
) -> None:
    folder = tmp_path_factory.mktemp("a")
    path = write(folder / "a.parquet", [f"text {number} é" for number in range(300)], compression=compression)
    data = bytearray(path.read_bytes())
    data[place % len(data)] = byte
    path.write_bytes(data)
    try:
        learn(read_texts([path]), 265)
    except NanochatError as error:
        assert str(path) in error.message
