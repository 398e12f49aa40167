"""Task data is fetched once into the layout that tasks look for; the hub here is a server of our own."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_hub import FakeHub, serving

from nanochat.errors import DamagedError, DownloadError, MissingError, UsageError
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Event, StageProgress
from nanochat.runtime.paths import Paths
from nanochat.stages import task_data as module
from nanochat.stages.task_data import fetch_task_data, list_task_data
from nanochat.tasks.hub import WORDS_FILE, Places
from nanochat.tasks.registry import open_task


def parquet(start: int) -> bytes:
    rows = [{"question": f"{number}?", "answer": f"#### {number}"} for number in range(start, start + 5)]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


FILES = {
    "README.md": b"# About",
    "main/test-00000-of-00002.parquet": parquet(0),
    "main/test-00001-of-00002.parquet": parquet(5),
    "main/train-00000-of-00001.parquet": parquet(10),
    "socratic/train-00000-of-00001.parquet": parquet(20),
}
WORDS = "".join(f"{a}{b}{c}\n" for a in "abcde" for b in "fghijklmno" for c in "pqrstuvwxy").encode()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving(FakeHub(repo="openai/gsm8k", files=FILES, sent={"/words": WORDS})) as hub:
        monkeypatch.setattr(module, "WORDS_URL", f"{hub.address}/words")
        yield hub


@pytest.fixture
def environ(hub: FakeHub) -> dict[str, str]:
    """The environment that leads to it."""
    return {"HF_ENDPOINT": hub.address}


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(paths=Paths(base=tmp_path / "base", cache=tmp_path / "cache"))


def test_a_set_is_fetched_once_and_then_read(hub: FakeHub, environ: dict[str, str], context: RunContext) -> None:
    events: list[Event] = []
    (found,) = fetch_task_data(["GSM8K"], context, events.append, environ)
    assert (found.name, found.complete, set(found.splits)) == ("gsm8k", True, {"train", "test"})
    assert any(isinstance(event, StageProgress) for event in events)
    places = Places.of(context.paths)
    assert sorted(conversation.messages[0].content for conversation in open_task("gsm8k", places=places)) == [
        f"{number}?" for number in range(10)
    ]
    assert len(open_task("gsm8k", "train", places=places)) == 5
    asked = len(hub.asked)
    assert fetch_task_data(["gsm8k"], context, events.append, {**environ, "HF_HUB_OFFLINE": "1"}) == [found]
    assert len(hub.asked) == asked
    # what is gone is fetched again, and nothing else
    (context.paths.tasks / "openai--gsm8k" / "main" / "test" / "00001.parquet").unlink()
    fetch_task_data(["gsm8k"], context, events.append, environ)
    assert len([path for path in hub.asked[asked:] if "resolve" in path]) == 1
    assert len(open_task("gsm8k", places=places)) == 10


def test_words(environ: dict[str, str], context: RunContext) -> None:
    found = fetch_task_data(["words"], context, lambda event: None, environ)
    assert [task.name for task in found] == ["spellingbee"]
    assert (context.paths.tasks / "words" / WORDS_FILE).read_bytes() == WORDS
    assert len(open_task("simplespelling", "train", places=Places.of(context.paths), size=7)) == 7


def test_what_is_damaged_on_the_way_gets_no_name(hub: FakeHub, environ: dict[str, str], context: RunContext) -> None:
    hub.sent["main/train-00000-of-00001.parquet"] = bytes(len(FILES["main/train-00000-of-00001.parquet"]))
    hub.sent["/words"] = b"<html>sign in</html>"
    for name, error in (("gsm8k", DownloadError), ("words", DamagedError)):
        with pytest.raises(error):
            fetch_task_data([name], context, lambda event: None, environ)
    assert [task.name for task in list_task_data(Places.of(context.paths)) if task.complete] == []
    with pytest.raises(MissingError):
        open_task("gsm8k", "train", places=Places.of(context.paths))


def test_what_cannot_be_had(environ: dict[str, str], context: RunContext) -> None:
    with pytest.raises(UsageError, match="no task facts that needs data"):
        fetch_task_data(["facts"], context, lambda event: None, environ)
    with pytest.raises(MissingError, match="mmlu"):
        fetch_task_data(["mmlu"], context, lambda event: None, environ)
    with pytest.raises(MissingError, match="OFFLINE"):
        fetch_task_data(["gsm8k"], context, lambda event: None, {**environ, "HF_HUB_OFFLINE": "1"})
    assert all(not any(task.splits.values()) for task in list_task_data(Places.of(context.paths)))
