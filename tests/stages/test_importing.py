"""Importing: what comes of files, whatever their order; all or nothing; what is said of losses."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from nanochat._rustbpe import ParquetTexts
from nanochat.config.importing import ImportConfig
from nanochat.data.dataset import DataSet
from nanochat.data.manifest import read_manifest
from nanochat.data.shards import read_group, row_groups
from nanochat.errors import MissingError, NanochatError, StorageError, UsageError
from nanochat.importing import build, spill, writer
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Event, Notice, StageFinished, StageProgress, StageStarted
from nanochat.runtime.files import sha256_file
from nanochat.runtime.paths import Paths
from nanochat.stages.importing import ImportResult, import_texts

ENDINGS = (".jsonl", ".parquet", ".txt", ".csv", ".json")


def context(folder: Path) -> RunContext:
    return RunContext(paths=Paths(base=folder / "base", cache=folder / "cache"))


def run(folder: Path, *places: Path | str, events: list[Event] | None = None, **options: Any) -> ImportResult:
    replace = options.pop("replace", None)
    on_event = (events if events is not None else []).append
    return import_texts(ImportConfig(**options), places, context(folder), on_event, replace=replace)


def documents(shard: Path) -> list[str]:
    return [text for group in range(row_groups(shard)) for text in read_group(shard, group)]


def content(folder: Path) -> tuple[list[str], list[str]]:
    """Documents for training and for validation."""
    dataset = DataSet.open(folder)
    return [text for shard in dataset.train for text in documents(shard)], documents(dataset.validation)


def all_of(parts: tuple[list[str], list[str]]) -> list[str]:
    return [*parts[0], *parts[1]]


def jsonl(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture
def texts() -> list[str]:
    return [f"Document {number}: {'word ' * (number % 40)}" for number in range(2_500)]


def test_a_data_set_of_files(tmp_path: Path, texts: list[str]) -> None:
    events: list[Event] = []
    source = jsonl(tmp_path / "a.jsonl", [*texts, *texts[:30], "", "  \n"])
    result = run(tmp_path, source, events=events, shard_size=100_000)
    assert (result.documents, result.duplicates, result.short, result.files) == (2500, 30, 2, 1)
    assert result.text_bytes == sum(map(len, texts))
    assert result.folder == tmp_path / "base" / "data" / "mine"
    train, validation = content(result.folder)
    assert sorted(train + validation) == sorted(texts)
    assert train + validation != sorted(train + validation)
    assert len(validation) == result.validation_documents == 250  # a tenth, as the text is small
    manifest = read_manifest(result.folder)
    assert manifest is not None
    assert sorted(manifest.files) == sorted(path.name for path in result.folder.glob("*.parquet"))
    assert result.shards == len(manifest.files) == 4
    assert manifest.made_by == f"nanochat data import {source} --name mine --shard-size 100K"
    for name, entry in manifest.files.items():
        path = result.folder / name
        assert (path.stat().st_size, sha256_file(path)) == (entry.size_bytes, entry.sha256)
        found = documents(path)
        assert (entry.documents, entry.text_bytes) == (len(found), sum(len(text.encode()) for text in found))
    sizes = [entry.text_bytes or 0 for entry in manifest.files.values() if entry.split == "train"]
    assert max(sizes) < 1.1 * min(sizes)
    assert pq.ParquetFile(result.folder / "shard_00000.parquet").metadata.row_group(0).num_rows <= 1024
    assert ParquetTexts(result.folder / "shard_00000.parquet").next(100) is not None
    assert isinstance(events[0], StageStarted)
    assert isinstance(events[-1], StageFinished)
    for detail in ("reading a.jsonl", "writing shards"):
        last = [event for event in events if isinstance(event, StageProgress) and event.detail == detail][-1]
        assert last.done == last.total > 0
    assert [path.name for path in result.folder.parent.iterdir() if "importing" in path.name] == []


def test_the_result_depends_on_texts_and_seed_alone(tmp_path: Path, texts: list[str], monkeypatch: Any) -> None:
    """Order and kind of files, how they are cut up, and the size of runs on the way make no difference."""
    one = run(tmp_path, jsonl(tmp_path / "a.jsonl", texts)).folder
    files = tmp_path / "files"
    files.mkdir()
    mixed = random.Random(3).sample(texts, len(texts)) + texts[:100]
    jsonl(files / "z.jsonl", mixed[:700])
    pq.write_table(pa.table({"text": mixed[700:1500]}), files / "b.parquet")
    (files / "c.json").write_text(json.dumps(mixed[1500:]))
    monkeypatch.setattr(spill, "RUN_BYTES", 50_000)
    monkeypatch.setattr(spill, "_RANGE_BYTES", 7_000)
    two = run(tmp_path, files, name="two").folder
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    assert content(one) == content(two)
    for path in one.glob("*.parquet"):
        assert path.read_bytes() == (two / path.name).read_bytes()
    other = run(tmp_path, files, name="three", seed=1).folder
    assert content(other) != content(one)
    assert sorted(all_of(content(other))) == sorted(texts)


def test_real_text(tmp_path: Path, test_data: Path) -> None:
    data = test_data / "data"
    shards = [data / "base_data" / f"shard_0000{number}.parquet" for number in range(2)]
    result = run(tmp_path, *shards)
    whole = [text for shard in shards for text in documents(shard)]
    assert sorted(all_of(content(result.folder))) == sorted(set(whole))
    assert result.lost_rows == result.lost_parts == result.bad_characters == 0
    many = run(tmp_path, data / "multilingual.jsonl.gz", name="multi")
    assert (many.documents, many.lost_rows) == (3024, 0)
    plays = run(tmp_path, data / "tinyshakespeare.txt.gz", name="plays")
    assert plays.text_bytes == 1_115_394
    tasks = run(tmp_path, f"{data}/gsm8k/*", name="tasks", column="question")
    assert tasks.documents > 100


def test_duplicates_are_kept_where_asked(tmp_path: Path, texts: list[str]) -> None:
    source = jsonl(tmp_path / "a.jsonl", texts + texts[:500])
    result = run(tmp_path, source, keep_duplicates=True)
    assert (result.documents, result.duplicates) == (3000, 0)
    assert sorted(all_of(content(result.folder))) == sorted(texts + texts[:500])
    other = run(tmp_path, jsonl(tmp_path / "b.jsonl", texts[:500] + texts), keep_duplicates=True, name="other")
    assert content(other.folder) == content(result.folder)


def test_settings(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", [f"{'é' * number}" for number in range(1, 101)])
    result = run(tmp_path, source, min_chars=11, validation_share=0.2)
    assert (result.documents, result.short, result.validation_documents) == (90, 10, 18)
    for wrong in ({"validation_share": 1.0}, {"min_chars": -1}, {"shard_size": 0}, {"encoding": "base64"}):
        with pytest.raises(UsageError):
            ImportConfig(**wrong)
    with pytest.raises(UsageError, match="name of a data set"):
        run(tmp_path, source, name="../up")


@pytest.mark.parametrize(("count", "share", "expected"), [(2, 0.0, 1), (3, 0.9, 2), (10, 0.0, 1), (10, 0.01, 1)])
def test_there_is_always_something_to_train_and_to_validate_on(
    tmp_path: Path, count: int, share: float, expected: int
) -> None:
    source = jsonl(tmp_path / "a.jsonl", [f"text {number}" for number in range(count)])
    assert run(tmp_path, source, validation_share=share).validation_documents == expected


def test_giant_documents_make_smaller_row_groups(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer, "GROUP_BYTES", 5_000)
    texts = [chr(97 + number) * 3_000 for number in range(20)] + ["x" * 20_000]
    result = run(tmp_path, jsonl(tmp_path / "a.jsonl", texts))
    assert sorted(all_of(content(result.folder))) == sorted(texts)
    assert row_groups(result.folder / "shard_00000.parquet") > 10


def test_too_long_documents_are_left_out_and_told(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(build, "LONGEST_BYTES", 100)
    result = run(tmp_path, jsonl(tmp_path / "a.jsonl", ["a", "b", "c" * 101]))
    assert (result.documents, result.lost_rows) == (2, 1)
    assert "a.jsonl" in result.places[0]


# losses


def test_losses_are_told_and_counted(tmp_path: Path) -> None:
    source = tmp_path / "text"
    source.mkdir()
    (source / "a.jsonl").write_bytes(b'{"text": "one"}\n{broken\n{"text": "two caf\xe9"}\n' + b"{\n" * 30)
    (source / "b.parquet").write_bytes(b"no parquet at all")
    (source / "package.json").write_text('{"name": "a", "version": "b"}')
    (source / "c.txt").write_bytes(b"PK\0\0")
    (source / "d.png").write_bytes(b"PNG")
    events: list[Event] = []
    result = run(tmp_path, source, events=events)
    assert (result.documents, result.lost_rows, result.lost_parts, result.lost_files) == (2, 31, 1, 2)
    assert result.bad_characters == 1
    said = [event.message for event in events if isinstance(event, Notice)]
    assert "1 file of another kind is passed over: d.png" in said
    assert "left out: 31 rows, 2 files, 1 part of a file:" in said
    assert any(f"{source}/a.jsonl:2: not JSON" in message for message in said)
    assert any("b.parquet: not readable parquet" in message for message in said)
    assert any(f"U+FFFD, first at {source}/a.jsonl:3" in message for message in said)
    assert "and 29 more" in said


def test_nothing_left_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "a.txt"
    empty.write_text("")
    with pytest.raises(UsageError, match="no document is left"):
        run(tmp_path, empty)
    empty.write_text("short")
    with pytest.raises(UsageError, match="one document alone"):
        run(tmp_path, empty)
    with pytest.raises(MissingError):
        run(tmp_path, tmp_path / "nowhere")
    empty.write_bytes(b"\0")
    with pytest.raises(UsageError, match="zero bytes"):
        run(tmp_path, empty)
    events: list[Event] = []
    with pytest.raises(UsageError, match="one document alone"):
        run(tmp_path, jsonl(tmp_path / "b.jsonl", ["one", 2]), events=events)
    said = [event.message for event in events if isinstance(event, Notice)]
    assert said == ["left out: 1 row:", f"{tmp_path / 'b.jsonl'}:2: has no text in text"]
    assert [path.name for path in (tmp_path / "base" / "data").iterdir()] == [".mine.lock"]


# again, and in the place of another


def test_the_same_again_is_there_already(tmp_path: Path, texts: list[str]) -> None:
    source = jsonl(tmp_path / "a.jsonl", texts)
    result = run(tmp_path, source)
    before = {path: path.stat().st_mtime_ns for path in result.folder.iterdir()}
    events: list[Event] = []
    again = run(tmp_path, source, events=events)
    assert again.already
    assert (again.documents, again.text_bytes, again.shards) == (result.documents, result.text_bytes, result.shards)
    assert [type(event) for event in events] == [StageFinished]
    assert {path: path.stat().st_mtime_ns for path in result.folder.iterdir()} == before


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(path.read_bytes()[::-1]), Path.unlink])
def test_the_same_again_mends_what_is_damaged(tmp_path: Path, texts: list[str], harm: Callable[[Path], None]) -> None:
    source = jsonl(tmp_path / "a.jsonl", texts)
    folder = run(tmp_path, source).folder
    whole = content(folder)
    harm(folder / "shard_00000.parquet")
    assert not run(tmp_path, source).already  # nor is anybody asked
    assert content(folder) == whole
    assert run(tmp_path, source).already


def test_another_needs_consent(tmp_path: Path, texts: list[str]) -> None:
    source = jsonl(tmp_path / "a.jsonl", texts)
    before = content(run(tmp_path, source).folder)
    jsonl(source, texts[:100])
    with pytest.raises(UsageError, match="'mine' already") as caught:
        run(tmp_path, source)
    assert "--replace" in caught.value.hint

    def refuse(question: str) -> None:
        assert "'mine' (2 shards" in question
        raise NanochatError("nothing was changed")

    with pytest.raises(NanochatError, match="nothing was changed"):
        run(tmp_path, source, replace=refuse)
    assert content(tmp_path / "base" / "data" / "mine") == before
    asked: list[str] = []
    result = run(tmp_path, source, replace=asked.append)
    assert sorted(all_of(content(result.folder))) == sorted(texts[:100])
    assert len(asked) == 1
    assert len(list(result.folder.iterdir())) == 3
    assert run(tmp_path, source).already


def test_replacing_again_and_again_takes_numbers_that_are_free(tmp_path: Path, texts: list[str]) -> None:
    source = tmp_path / "a.jsonl"
    names = []
    for number in range(4):
        folder = run(tmp_path, jsonl(source, texts[number:]), replace=lambda question: None).folder
        names.append(sorted(path.name for path in folder.glob("shard_*.parquet")))
        assert sorted(all_of(content(folder))) == sorted(texts[number:])
    assert names == [["shard_00000.parquet", "shard_00001.parquet"], ["shard_00002.parquet", "shard_00003.parquet"]] * 2


def test_a_data_set_can_be_made_of_itself(tmp_path: Path, texts: list[str]) -> None:
    folder = run(tmp_path, jsonl(tmp_path / "a.jsonl", texts)).folder
    result = run(tmp_path, folder, min_chars=30, replace=lambda question: None)
    assert sorted(all_of(content(result.folder))) == sorted(text for text in texts if len(text) >= 30)


def test_shards_without_a_manifest_are_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "base" / "data" / "mine"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"text": ["x"]}), folder / "shard_00000.parquet")
    with pytest.raises(UsageError, match="no manifest") as caught:
        run(tmp_path, jsonl(tmp_path / "a.jsonl", ["a", "b"]), replace=lambda question: None)
    assert "--adopt" in caught.value.hint


def test_two_at_once(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "a.jsonl", ["a", "b"])
    (tmp_path / "base" / "data").mkdir(parents=True)
    with FileLock(tmp_path / "base" / "data" / ".mine.lock"), pytest.raises(NanochatError, match="another process"):
        run(tmp_path, source)
    assert run(tmp_path, source).documents == 2


# killed, or out of room

STEPS = """
import os, sys
from pathlib import Path
import nanochat.importing.build
from nanochat.config.importing import ImportConfig
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.stages.importing import import_texts

base, source = Path(sys.argv[1]), sys.argv[2]
count = fatal = 0

def watch(event, args):
    global count
    opened = event == "open" and "w" in str(args[1])
    watched = opened or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir")
    if watched and str(args[0]).startswith(str(base / "data")):
        count += 1
        if count == fatal:
            os.kill(os.getpid(), 9)

sys.addaudithook(watch)
for line in sys.stdin:
    child = os.fork()
    if not child:
        fatal = int(line)
        import_texts(ImportConfig(shard_size=20_000), [source], RunContext(paths=Paths(base=base, cache=base)),
                     lambda event: None, replace=lambda question: None)
        print("done", count, flush=True)
        os._exit(0)
    if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        print("killed" if code == -9 else f"failed with {code}", flush=True)
"""


@pytest.fixture
def steps(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Imports that die before their n-th change of the disk; each answers `killed`, or `done` and their number."""
    words = [sys.executable, "-c", STEPS, str(tmp_path / "base"), str(tmp_path / "a.jsonl")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        into, out = process.stdin, process.stdout
        assert into is not None
        assert out is not None

        def step(fatal: int) -> str:
            into.write(f"{fatal}\n")
            return out.readline().strip()

        yield step


@pytest.mark.parametrize("old", [False, True], ids=["new", "replacing"])
def test_killed_at_any_moment(tmp_path: Path, texts: list[str], old: bool, steps: Callable[[int], str]) -> None:
    base, source = tmp_path / "base", tmp_path / "a.jsonl"
    folder = base / "data" / "mine"
    before = texts[:600]
    if old:
        run(tmp_path, jsonl(source, before), shard_size=20_000)
        kept = tmp_path / "kept"
        shutil.copytree(base, kept)
    jsonl(source, texts[300:900])
    count = int(steps(0).removeprefix("done "))
    assert count > (15 if old else 5)
    after = content(folder)
    states = set()
    for fatal in range(1, count + 1):
        shutil.rmtree(base, ignore_errors=True)  # before the first step there is none
        if old:
            shutil.copytree(kept, base)
        assert steps(fatal) == "killed"
        if not old and not folder.exists():
            states.add("nothing")
        else:
            found = content(folder)
            states.add("after" if found == after else "before")
            assert found == after or sorted(all_of(found)) == sorted(before)
        if fatal % 4 == 0:  # and the next one clears up
            run(tmp_path, source, shard_size=20_000, replace=lambda question: None)
            again = run(tmp_path, jsonl(source, texts[300:900]), shard_size=20_000, replace=lambda question: None)
            assert content(again.folder) == after
            manifest = read_manifest(folder)
            assert manifest is not None
            assert {path.name for path in folder.iterdir()} == {*manifest.files, "manifest.json"}
            assert [path.name for path in folder.parent.iterdir() if path != folder] == [".mine.lock"]
    assert states == ({"before", "after"} if old else {"nothing"})


def test_a_full_disk_is_one_clear_error(tmp_path: Path, texts: list[str]) -> None:
    source = jsonl(tmp_path / "a.jsonl", texts)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(StorageError, match="File too large"):
            run(tmp_path, source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "base" / "data").iterdir()] == [".mine.lock"]


def test_a_disk_that_is_full_while_shards_are_written(tmp_path: Path, texts: list[str], monkeypatch: Any) -> None:
    source = jsonl(tmp_path / "a.jsonl", texts)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        run(tmp_path, source)
    assert [path.name for path in (tmp_path / "base" / "data").iterdir()] == [".mine.lock"]


def test_too_little_room_is_told_beforehand(tmp_path: Path, texts: list[str], monkeypatch: Any) -> None:
    source = jsonl(tmp_path / "a.jsonl", texts)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(build.shutil, "disk_usage", lambda path: usage._replace(free=100_000))
    with pytest.raises(StorageError, match=r"0\.0 GB free") as caught:
        run(tmp_path, source)
    assert "--base-dir" in caught.value.hint
    assert [path.name for path in (tmp_path / "base" / "data").iterdir()] == [".mine.lock"]


# memory

MEMORY = """
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
import numpy, pyarrow, pyarrow.compute, pyarrow.parquet
import nanochat.importing.build, nanochat.stages.importing
from nanochat.config.importing import ImportConfig
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.stages.importing import import_texts

def peak():
    # in KB, of this program alone: getrusage counts the process that started it too
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

bare = peak()
base = Path(sys.argv[1])
import_texts(ImportConfig(keep_duplicates=sys.argv[3] == "keep"), [sys.argv[2]],
             RunContext(paths=Paths(base=base, cache=base)), lambda event: None)
print((peak() - bare) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of one program is read from /proc")
@pytest.mark.parametrize("kind", ["jsonl", "parquet, one row group", "zeros.gz", "duplicates"])
def test_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    """Hundreds of megabytes of text, and of one that unpacks to that, take a bounded amount of memory."""
    noise = random.Random(0)
    words = [noise.randbytes(4).hex() for _ in range(5_000)]

    def lines(count: int) -> Any:
        return (" ".join(noise.choices(words, k=600)) for _ in range(count))

    if kind == "jsonl":
        path = tmp_path / "a.jsonl"
        with path.open("w") as file:
            some = list(lines(1_000))
            for at in range(40):
                file.writelines(f'{{"text": "{text[at:]}"}}\n' for text in some)
    elif kind.startswith("parquet"):
        path = tmp_path / "a.parquet"
        with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), use_dictionary=False) as writer:
            some = list(lines(1_000))
            tables = [pa.table({"text": [text[at:] + text[:at] for text in some]}) for at in range(40)]
            writer.write_table(pa.concat_tables(tables), row_group_size=10**6)
    elif kind == "zeros.gz":
        import gzip

        path = tmp_path / "a.jsonl.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            for _ in range(5):
                file.write(b'{"text": "' + b"x" * 50_000_000 + b'"}\n')
            file.write(b'{"text": "a"}\n{"text": "b"}\n')
    else:
        path = tmp_path / "a.jsonl"
        some = [f'{{"text": "{text}"}}\n' for text in lines(2_000)]
        with path.open("w") as file:
            for _ in range(20):
                file.writelines(some)
    how = "keep" if kind == "duplicates" else "drop"
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path / "base"), str(path), how], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert 10 < int(done.stdout) < 300, done.stdout
