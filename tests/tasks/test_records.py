"""Values of a file one by one, with their places, whatever the file is."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.tasks import records
from nanochat.tasks.records import RecordFile, parse


def read(path: Path) -> list[tuple[str, Any]]:
    file = RecordFile(path, path.parent / "unpacked")
    found = []
    for record in file:
        data = file.read(record.start, record.size)
        try:
            found.append((record.place, parse(data)))
        except ValueError as error:
            found.append((record.place, str(error)))
    file.close()
    return found


def written(tmp_path: Path, text: str | bytes, name: str = "mine.jsonl") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_lines(tmp_path: Path) -> None:
    path = written(tmp_path, '\ufeff{"a": 1}\n\n  \n{"b": "é"}\r\noops\n["x", "y"]')
    assert read(path) == [
        ("line 1", {"a": 1}),
        ("line 4", {"b": "é"}),
        ("line 5", "not JSON: Expecting value at character 1"),
        ("line 6", ["x", "y"]),
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_gives_its_items_with_their_lines(tmp_path: Path, indent: int | None) -> None:
    items = [{"a": 'x]},{"\\'}, ["q", "a"], {"b": [1, [2]]}]
    path = written(tmp_path, "\n" + json.dumps(items, indent=indent) + "\n", "mine.json")
    found = read(path)
    assert [value for _, value in found] == items
    lines = [2, 2, 2] if indent is None else [3, 6, 10]
    assert [place for place, _ in found] == [f"item {at} (line {line})" for at, line in enumerate(lines, 1)]


def test_a_broken_item_does_not_hide_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, '[{"a": 1},\n {"b": oops},\n {"c": 3}]')
    assert [value for _, value in read(path)] == [{"a": 1}, "not JSON: Expecting value at character 7", {"c": 3}]


def test_what_a_single_line_with_a_list_is(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}]
    assert read(written(tmp_path, json.dumps(turns))) == [("line 1", turns)]
    assert read(written(tmp_path, json.dumps([turns, turns]))) == [
        ("item 1 (line 1)", turns),
        ("item 2 (line 1)", turns),
    ]
    assert read(written(tmp_path, f"{json.dumps(turns)}\n\n{json.dumps(turns)}\n")) == [
        ("line 1", turns),
        ("line 3", turns),
    ]


def test_one_object_over_many_lines(tmp_path: Path) -> None:
    value = {"messages": [{"role": "user", "content": "Hi"}]}
    assert read(written(tmp_path, json.dumps(value, indent=2), "one.json")) == [("line 1", value)]


def test_compressed_files_leave_nothing_behind(tmp_path: Path) -> None:
    lines = b'{"a": 1}\n{"b": 2}\n'
    assert read(written(tmp_path, gzip.compress(lines), "mine.jsonl.gz")) == [
        ("line 1", {"a": 1}),
        ("line 2", {"b": 2}),
    ]
    array = gzip.compress(b'[{"a": 1}, {"b": 2}]')
    assert [value for _, value in read(written(tmp_path, array, "mine.json.gz"))] == [{"a": 1}, {"b": 2}]
    assert list((tmp_path / "unpacked").iterdir()) == []


@pytest.mark.parametrize("data", [gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20], b"plain text", b"\x1f\x8b\x08"])
def test_a_damaged_archive(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DamagedError, match="cannot be unpacked"):
        read(written(tmp_path, data, "mine.jsonl.gz"))


@pytest.mark.parametrize(
    ("text", "message"),
    [('[{"a": 1},\n{"b"', "not closed .after item 1, line 1"), ("[\n[1]]\n[2", "follows the array's end")],
)
def test_damaged_arrays(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DamagedError, match=message):
        read(written(tmp_path, text))


def test_values_that_are_too_long_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_BYTES", 20)
    path = written(tmp_path, '{"a": 1}\n{"long": "' + "x" * 100 + '"}\n' + " " * 50 + '\n{"b": 2}\n')
    sizes = [(record.line, record.size) for record in RecordFile(path)]
    assert [line for line, size in sizes if not size] == [2, 3]
    assert [line for line, size in sizes if size] == [1, 4]


def test_nothing_to_read(tmp_path: Path) -> None:
    assert read(written(tmp_path, "")) == []
    assert read(written(tmp_path, "\n \n")) == []
    assert read(written(tmp_path, "[]")) == []
    with pytest.raises(MissingError, match="there is no file"):
        RecordFile(tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="is a folder"):
        RecordFile(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}\xff", "not UTF-8: byte 0xFF at position 2"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5000, "not JSON|Exceeds"),
    ],
)
def test_what_is_no_value(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(data)


VALUES = st.recursive(
    st.text(max_size=8) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(
    st.lists(st.dictionaries(st.text(max_size=3), VALUES, min_size=1, max_size=3), min_size=2),
    st.sampled_from([None, 0, 1]),
)
def test_arrays_are_cut_where_json_cuts_them(
    tmp_path_factory: pytest.TempPathFactory, items: list[Any], indent: int | None
) -> None:
    for ascii_only in (True, False):
        text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
        path = written(tmp_path_factory.mktemp("array"), text.encode("utf-8", "replace"))
        expected = json.loads(text.encode("utf-8", "replace"))
        found = read(path)
        assert [value for _, value in found] == expected
