"""Every kind of file gives its documents; what cannot be read is told by place, and the rest counts."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.errors import MissingError, StorageError, UsageError
from nanochat.importing import plain, rows, tables
from nanochat.importing.losses import PLACES_KEPT, Losses
from nanochat.importing.places import find_files, told_by_name
from nanochat.importing.plain import plain_documents
from nanochat.importing.reading import How, look_into, read_file
from nanochat.importing.streams import BLOCK, Broken, blocks, decoded


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKERS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def read(path: Path, **how: Any) -> tuple[list[str], Losses]:
    losses = Losses()
    settings_ = How(**how)
    (file,) = find_files([path]).files
    column = look_into(file, settings_)
    texts = [text for batch in read_file(file, column, settings_, losses) for text in batch.texts.to_pylist()]
    return texts, losses


def put(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


# what names say


def test_names_tell_kinds(tmp_path: Path) -> None:
    for name, kind, compression in (
        ("a.txt", "plain", ""),
        ("a.MD", "plain", ""),
        ("a.b.jsonl.zst", "jsonl", "zstd"),
        ("a.tsv.xz", "csv", "xz"),
        ("a.parquet", "parquet", ""),
        ("a.gz", "plain", "gzip"),
    ):
        told = told_by_name(Path(name))
        assert told is not None
        assert (told.kind, told.compression, told.tabs) == (kind, compression, ".tsv" in name)
    for name in ("a", "a.pdf", "a.parquet.gz.zip", ".txt"):
        assert told_by_name(Path(name)) is None
    assert told_by_name(Path("a.tar.gz"), named=False) is None


def test_places(tmp_path: Path) -> None:
    deep = tmp_path / "deep" / "er"
    deep.mkdir(parents=True)
    for path in (tmp_path / "b.txt", tmp_path / "a.md", deep / "c.jsonl", deep / "x.png", tmp_path / ".hidden.txt"):
        path.write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "d.txt").write_text("x")
    found = find_files([tmp_path])
    assert [file.path.name for file in found.files] == ["a.md", "b.txt", "c.jsonl"]
    assert [path.name for path in found.passed_over] == ["x.png"]
    assert [file.path.name for file in find_files([f"{tmp_path}/**/*.jsonl"]).files] == ["c.jsonl"]
    twice = find_files([tmp_path / "b.txt", tmp_path, deep / ".." / ".." / "b.txt"]).files
    assert [file.path.name for file in twice] == ["b.txt", "a.md", "c.jsonl"]
    assert [file.named for file in twice] == [True, False, False]
    odd = put(tmp_path, "[1].txt", "x")
    assert [file.path for file in find_files([odd]).files] == [odd]  # a file's own name is no pattern


def test_wrong_places(tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", f"{tmp_path}/*.txt"):
        with pytest.raises(MissingError, match=r"nowhere|\*\.txt"):
            find_files([place])
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone")
    with pytest.raises(MissingError, match="points to nothing"):
        find_files([tmp_path / "link.txt"])
    put(tmp_path, "a.png", b"\x89PNG")
    with pytest.raises(UsageError, match="holds no text"):
        find_files([tmp_path])


def test_the_manifest_of_a_data_set_is_no_text(tmp_path: Path) -> None:
    put(tmp_path, "manifest.json", "{}")
    assert len(find_files([tmp_path]).files) == 1
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "shard_00000.parquet")
    assert [file.path.name for file in find_files([tmp_path]).files] == ["shard_00000.parquet"]


# compressed files


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_files_of_several_members(tmp_path: Path, suffix: str) -> None:
    pack = PACKERS[suffix]
    data = pack(b"one\n" * 400_000) + pack(b"") + pack(b"two\n")
    told = told_by_name(put(tmp_path, f"a.txt{suffix}", data))
    assert told is not None
    count: list[int] = []
    pieces = list(blocks(told, count.append))
    assert b"".join(pieces) == b"one\n" * 400_000 + b"two\n"
    assert max(map(len, pieces)) <= BLOCK
    assert sum(count) == len(data)


def test_zstd(tmp_path: Path) -> None:
    data = zstd(b"one\n" * 400_000)
    told = told_by_name(put(tmp_path, "a.txt.zst", data + data))
    assert told is not None
    assert b"".join(blocks(told)) == b"one\n" * 800_000


@pytest.mark.parametrize(
    ("suffix", "damage"),
    # of noise zstd without checksums, as pyarrow writes it, cannot tell
    [*((suffix, damage) for suffix in PACKERS for damage in ("cut", "noise")), (".zst", "cut")],
)
def test_what_comes_before_damage_is_read(tmp_path: Path, suffix: str, damage: str) -> None:
    import random

    noise = random.Random(0)
    lines = [json.dumps({"text": noise.randbytes(50).hex()}) for _ in range(25_000 if suffix == ".bz2" else 9_000)]
    data = bytearray({**PACKERS, ".zst": zstd}[suffix]("\n".join(lines).encode()))
    if damage == "cut":
        del data[2 * len(data) // 3 :]
    else:
        middle = 2 * len(data) // 3
        data[middle : middle + 500] = random.Random(1).randbytes(500)
    texts, losses = read(put(tmp_path, f"a.jsonl{suffix}", bytes(data)))
    assert losses.parts == 1
    assert len(texts) > 2_500
    whole = [json.loads(line)["text"] for line in lines]
    # gzip notices noise only when it cannot be code, or at the end by its checksum: a few rows may be wrong or bad
    same = sum(a == b for a, b in zip(texts, whole, strict=False))
    assert same == len(texts) if damage == "cut" else same > 2_500
    assert losses.places[0].startswith(f"{tmp_path}/a.jsonl{suffix}: ")


def test_a_small_file_that_unpacks_to_something_huge(tmp_path: Path) -> None:
    data = gzip.compress(b"\0" * 50_000_000)
    assert len(data) < BLOCK
    told = told_by_name(put(tmp_path, "a.txt.gz", data))
    assert told is not None
    assert max(map(len, blocks(told))) <= BLOCK


# plain text


@pytest.mark.parametrize("how", ["auto", "file"])
@given(text=st.text(st.characters(exclude_categories=["Cs"])), cuts=st.lists(st.integers(0, 200), max_size=6))
@settings(max_examples=60, deadline=None)
def test_plain_text_is_cut_without_loss_wherever_blocks_end(how: Any, text: str, cuts: list[int]) -> None:
    text = text * 9
    ends = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[a:b] for a, b in itertools.pairwise(ends)]
    longest, plain.PLAIN_CHARS, plain.LONGEST_CHARS = (plain.PLAIN_CHARS, plain.LONGEST_CHARS), 20, 50
    try:
        found = list(plain_documents(iter(pieces), how))
    finally:
        plain.PLAIN_CHARS, plain.LONGEST_CHARS = longest
    assert "".join(found) == text
    assert all(0 < len(piece) <= (20 if how == "auto" else 50) for piece in found)


def test_plain_text_is_cut_behind_blank_lines(tmp_path: Path) -> None:
    paragraph = "word " * 150 + "\nmore\n\n"
    texts, _ = read(put(tmp_path, "a.md", paragraph * 50))
    assert len(texts) == 5
    assert all(text.endswith("\n\n") for text in texts)


def test_lines_and_paragraphs(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", "\n one \r\ntwo\n \t\n\nthree\nfour\n\n\n  five")
    assert [text for text in read(path, documents="line")[0] if text] == ["one", "two", "three", "four", "five"]
    assert [text for text in read(path, documents="paragraph")[0] if text] == ["one \r\ntwo", "three\nfour", "five"]
    assert read(path, documents="file")[0] == [path.read_bytes().decode()]


def test_paragraphs_at_the_ends_of_blocks() -> None:
    text = "a\n\nb\n \n\nc\nd\n\n\n\ne"
    for cut in range(len(text)):
        found = list(plain_documents(iter([text[:cut], text[cut:]]), "paragraph"))
        assert found == ["a", "b", "c\nd", "e"], cut


def test_what_is_not_utf8_is_replaced_and_told(tmp_path: Path) -> None:
    path = put(tmp_path, "a.txt", b"fine\ncaf\xe9 noir\n" + b"x" * BLOCK + b"\nna\xefve\n")
    (first, *_), losses = read(path, documents="file")
    assert first.startswith("fine\ncaf\ufffd noir\n")
    assert losses.bad_characters == 2
    assert losses.bad_places == [f"{path}:2", f"{path}:4"]
    assert read(path, encoding="latin-1", documents="line")[0][1] == "café noir"


def test_byte_order_marks(tmp_path: Path) -> None:
    for encoding in ("utf-8-sig", "utf-16"):
        path = put(tmp_path, f"{encoding}.txt", "é\nb".encode(encoding))
        assert read(path)[0] == ["é\nb"]
    table = put(tmp_path, "excel.tsv", "n\ttext\n1\té\n".encode("utf-16"))
    assert read(table)[0] == ["é"]
    assert read(put(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"text": "x"}'))[0] == ["x"]


def test_a_character_over_the_end_of_a_block() -> None:
    data = "añ🙂b".encode()
    for cut in range(1, len(data)):
        assert "".join(decoded(iter([data[:cut], data[cut:]]), "utf-8", lambda line, count: None)) == "añ🙂b"


def test_zero_bytes_are_no_text(tmp_path: Path) -> None:
    for name in ("a.txt", "a", "a.jsonl", "a.csv"):
        with pytest.raises(UsageError, match="zero bytes"):
            read(put(tmp_path, name, b"PK\x03\x04\0\0text"))


def test_a_file_of_any_name_is_text_when_named(tmp_path: Path) -> None:
    assert read(put(tmp_path, "main.tex", "text"))[0] == ["text"]
    assert read(put(tmp_path, "main.gz", gzip.compress(b"text")))[0] == ["text"]


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path, "a.txt", "x")

    def refuse(self: Path, *args: Any, **options: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(StorageError, match=r"a\.txt: Permission denied"):
        read(path)


# JSON


def test_bad_lines_of_json_are_named_and_the_others_count(tmp_path: Path) -> None:
    lines = ['{"text": "one"}', "{", "", '{"body": "x"}', '"two"', '{"text": 3}', "[1]", '{"text": null}', '"\\ud800"']
    path = put(tmp_path, "a.jsonl", "\r\n".join([*lines, '{"text": "caf"}']))
    texts, losses = read(path)
    assert texts == ["one", "two", "", "\ufffd", "caf"]
    assert losses.rows == 4
    assert losses.places == [
        f"{path}:2: not JSON",
        f"{path}:4: has no text in text",
        f"{path}:6: has no text in text",
        f"{path}:7: is no text",
    ]


def test_json_in_latin_is_kept(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", b'{"text": "one"}\n{"text": "caf\xe9"}\n{"text": "\xe9\n')
    texts, losses = read(path)
    assert texts == ["one", "caf\ufffd"]
    assert (losses.rows, losses.bad_characters, losses.bad_places) == (1, 1, [f"{path}:2"])
    assert read(path, encoding="latin-1")[0] == ["one", "café"]


def test_a_line_of_any_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "ROW_LIMIT", 3_000_000)
    fits, not_ = "a" * 2_900_000, "b" * 3_100_000
    path = put(tmp_path, "a.jsonl", "\n".join(json.dumps({"text": text}) for text in ("x", not_, fits, not_, "y")))
    texts, losses = read(path)
    assert texts == ["x", fits, "y"]
    assert [place.split(": ")[0] for place in losses.places] == [f"{path}:2", f"{path}:4"]


def test_only_the_first_places_are_kept(tmp_path: Path) -> None:
    _, losses = read(put(tmp_path, "a.jsonl", '{"text": "x"}\n' + "{\n" * 100))
    assert (losses.rows, len(losses.places)) == (100, PLACES_KEPT)


@pytest.mark.parametrize(
    "text",
    [
        '[{"text": "a"}, {"text": "b"}]',
        '\n[\n{"text":\n"a"}\n,{"text": "b"}\n]\n',
        '{"text": "a"}\n{"text": "b"}',
        '{"text": "a"} {"text": "b"}',
        '["a", "b"]',
    ],
)
def test_json_of_every_shape(tmp_path: Path, text: str) -> None:
    assert read(put(tmp_path, "a.json", text))[0] == ["a", "b"]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=20),
    st.integers(1, 40),
    st.sampled_from([None, 2]),
)
@settings(max_examples=60, deadline=None)
def test_json_wherever_blocks_end(values: list[str], size: int, indent: int | None) -> None:
    text = json.dumps([{"text": value} for value in values], indent=indent)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    found = list(rows.json_values(pieces))
    assert [value["text"] for _, value in found] == values
    if indent:
        assert [line for line, _ in found] == [2 + 3 * number for number in range(len(values))]


def test_broken_json(tmp_path: Path) -> None:
    path = put(tmp_path, "a.json", '[{"text": "a"},\n{"text": "b"},\n{"text": c},\n{"text": "d"}]')
    texts, losses = read(path)
    assert texts == ["a", "b"]
    assert (losses.parts, "line 3" in losses.places[0]) == (1, True)
    texts, losses = read(put(tmp_path, "b.json", '[{"text": "a"}'))
    assert (texts, losses.parts) == (["a"], 1)
    deep = put(tmp_path, "deep.jsonl", '{"text": "a"}\n' + "[" * 100_000 + "\n")
    assert read(deep)[1].rows == 1
    with pytest.raises(Broken):
        list(rows.json_values(iter(["[" * 100_000])))


# CSV


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), min_size=1), max_size=20))
@settings(max_examples=60, deadline=None)
def test_csv_with_quotes_and_line_ends(values: list[str]) -> None:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([("n", "text"), *enumerate(values)])
    text = sink.getvalue()
    found = [row for _, row in rows.csv_rows((text[at : at + 7] for at in range(0, len(text), 7)), tabs=False)]
    assert found == [["n", "text"], *([str(number), value] for number, value in enumerate(values))]


def test_bad_rows_of_csv(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", 'id,text\n1,fine\n2,too,many\n\n3,"two\nlines"\n4\n5,"x"y\n6,end\n7,"open\n8,x\n')
    texts, losses = read(path)
    assert texts == ["fine", "two\nlines", "end"]
    assert [place.removeprefix(f"{path}") for place in losses.places] == [
        ": the quotation that begins on line 10 does not end",
        ":3: has 3 fields, the first line 2",
        ":7: has 1 fields, the first line 2",
        ":8: not CSV (',' expected after '\"')",
    ]
    assert (losses.rows, losses.parts) == (3, 1)


# columns


def test_columns(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", "n,text,title\n1,a,b\n")
    assert read(path)[0] == ["a"]
    assert read(path, column="title")[0] == ["b"]
    assert read(put(tmp_path, "b.csv", "n,body\n1,a\n2,7\n"))[0] == ["a", "7"]
    for name, data in (("c.csv", "n,body,title\n1,a,b\n"), ("c.jsonl", '{"n": 1, "body": "a", "title": "b"}')):
        with pytest.raises(UsageError, match="several columns") as caught:
            read(put(tmp_path, name, data))
        assert "body, title" in caught.value.hint
        with pytest.raises(UsageError, match="no column 'text2'") as caught:
            read(tmp_path / name, column="text2")
        assert "n, body, title" in caught.value.hint
    with pytest.raises(UsageError, match="no column with text"):
        read(put(tmp_path, "d.jsonl", '{"n": 1}'))


def test_columns_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": [1], "body": ["x"], "image": pa.array([b"x"], pa.binary())}), path)
    assert read(path)[0] == ["x"]
    assert read(path, column="image")[0] == ["x"]
    with pytest.raises(UsageError, match="holds int64"):
        read(path, column="n")
    pq.write_table(pa.table({"text": [["x"]]}), path)
    with pytest.raises(UsageError, match="no column with text"):
        read(path)


# parquet


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_parquet_of_every_type(tmp_path: Path, kind: pa.DataType) -> None:
    texts = ["one", "", "zwei 🙂", None, "one"] * 30
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array(texts, pa.string()).cast(kind)}), path, row_group_size=40)
    found, losses = read(path)
    assert found == [text or "" for text in texts]
    assert losses == Losses()


def test_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([b"fine", b"caf\xe9"], pa.binary())}), path)
    found, losses = read(path)
    assert found == ["fine", "caf\ufffd"]
    assert losses.bad_places == [f"{path} row 2"]


def test_a_bad_page_costs_its_row_group(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text {number} é" for number in range(3000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=1000, use_dictionary=False)
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    middle = column.data_page_offset + column.total_compressed_size // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    found, losses = read(path)
    assert found[:1000] + found[-1000:] == texts[:1000] + texts[2000:]
    assert losses.parts == 1
    assert "row group 1, rows " in losses.places[0]
    assert "to 2,000: damaged" in losses.places[0]


@pytest.mark.parametrize("data", [b"", b"noise" * 100, b"PAR1" * 20])
def test_what_is_no_parquet(tmp_path: Path, data: bytes) -> None:
    found, losses = read(put(tmp_path, "a.parquet", data))
    assert (found, losses.parts) == ([], 1)
    assert "not readable parquet" in losses.places[0]
    assert tables.parquet_text_bytes(tmp_path / "a.parquet", "text") == len(data)
