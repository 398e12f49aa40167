"""Where task data lies: every layout is found, what is missing or damaged is named."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.paths import Paths
from nanochat.tasks import rows as rows_module
from nanochat.tasks.hub import Places, find_files, find_rows, find_words

ROWS = [{"question": f"What is {number}?", "answer": f"It is.\n#### {number}"} for number in range(30)]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    (tmp_path / "given").mkdir()
    return Places(downloads=tmp_path / "downloads", scratch=tmp_path / "scratch", given=tmp_path / "given")


def parquet(path: Path, rows: list[dict[str, str]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    return path


def jsonl(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "openai--gsm8k/main/test/00000.parquet",
        "datasets--openai--gsm8k/snapshots/abc/main/test-00000-of-00001.parquet",
        "openai/gsm8k/main/test-00000-of-00001.parquet",
        "gsm8k/main/test-00000-of-00001.parquet",
        "gsm8k/test.jsonl",
        "gsm8k/test.jsonl.gz",
        "gsm8k_test.parquet",
    ],
)
def test_every_layout_is_found(name: str, places: Places) -> None:
    assert places.given
    (parquet if name.endswith("parquet") else jsonl)(places.given / name)
    rows = find_rows("gsm8k", "test", places)
    assert [dict(row) for row in rows] == ROWS
    assert rows[-1] == ROWS[-1]
    with pytest.raises(MissingError):
        find_rows("gsm8k", "train", places)


def test_the_folder_that_was_named_comes_first(places: Places) -> None:
    parquet(places.downloads / "openai--gsm8k/main/test/00000.parquet", ROWS[:3])
    assert len(find_rows("gsm8k", "test", places)) == 3
    assert places.given
    jsonl(places.given / "gsm8k/test.jsonl")
    assert len(find_rows("gsm8k", "test", places)) == 30


def test_several_files_are_read_in_order_and_incomplete_ones_are_missing(places: Places) -> None:
    folder = places.downloads / "openai--gsm8k/main/test"
    files = [parquet(folder / f"0000{number}.parquet", ROWS[number * 10 :][:10]) for number in range(3)]
    (folder / "manifest.json").write_text(json.dumps([file.name for file in files]))
    rows = find_rows("gsm8k", "test", places)
    assert [dict(row) for row in rows] == ROWS
    assert rows.place(10) == f"{files[1]}, row 1"
    files[1].unlink()
    assert find_files("gsm8k", "test", places) == []


def test_what_is_missing_says_which_command_fetches_it(places: Places) -> None:
    with pytest.raises(MissingError, match=r"the auxiliary_train split of mmlu \(cais/mmlu\)") as caught:
        find_rows("mmlu", "train", places)
    assert caught.value.exit_code == 3
    assert caught.value.hint.startswith("nanochat data tasks mmlu")
    with pytest.raises(MissingError) as caught:
        find_words(places)
    assert caught.value.hint.startswith("nanochat data tasks words")
    with pytest.raises(UsageError, match="gsm8k has no split val; it has test, train"):
        find_files("gsm8k", "val", places)
    with pytest.raises(MissingError, match="there is no folder"):
        Places.of(Paths(base=places.downloads, cache=places.downloads), str(places.downloads / "none"))


def test_damaged_files_are_named(places: Places) -> None:
    path = places.downloads / "openai--gsm8k/main/test/00000.parquet"
    parquet(path, [{"question": "?", "reply": "!"}])
    with pytest.raises(DamagedError, match="has no column answer; its columns: question, reply"):
        find_rows("gsm8k", "test", places)
    path.write_bytes(b"PAR1 and nothing else")
    with pytest.raises(DamagedError, match=str(path)):
        find_rows("gsm8k", "test", places)
    shutil.rmtree(places.downloads)
    assert places.given
    lines = jsonl(places.given / "gsm8k/test.jsonl")
    for bad, problem in (('{"question": "?"}', "has no answer"), ("[1]", "has no question, answer"), ("{", "not JSON")):
        lines.write_text(f"{json.dumps(ROWS[0])}\n\n{bad}\n")
        with pytest.raises(DamagedError, match=rf"test.jsonl, line 3:? ?{problem}"):
            find_rows("gsm8k", "test", places)


def test_a_large_set_is_mapped_into_memory(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(places.downloads / "openai--gsm8k/main/test/00000.parquet")
    monkeypatch.setattr(rows_module, "READ_WHOLE", 10)
    assert [dict(row) for row in find_rows("gsm8k", "test", places)] == ROWS
    (kept,) = places.scratch.iterdir()
    written = kept.stat().st_mtime_ns
    assert find_rows("gsm8k", "test", places)[7] == ROWS[7]
    assert kept.stat().st_mtime_ns == written  # once
    parquet(path, ROWS[:5])
    assert len(find_rows("gsm8k", "test", places)) == 5  # other files, another copy
