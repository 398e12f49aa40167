"""Task data is fetched once into the layout that tasks look for; the hub here is a server of our own."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nanochat.errors import DamagedError, DownloadError, MissingError, UsageError
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Event, StageProgress
from nanochat.runtime.paths import Paths
from nanochat.stages import task_data as module
from nanochat.stages.task_data import fetch_task_data, list_task_data
from nanochat.tasks.hub import WORDS_FILE, Places
from nanochat.tasks.registry import open_task

COMMIT = "c0ffee" + "0" * 34


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


class Hub(http.server.BaseHTTPRequestHandler):
    asked: list[str]
    files: dict[str, bytes]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        resolve = f"/datasets/openai/gsm8k/resolve/{COMMIT}/"
        if self.path.startswith("/api/datasets/openai/gsm8k"):
            self.answer({"id": "openai/gsm8k", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]})
        elif self.path.startswith(resolve) and self.path.removeprefix(resolve) in FILES:
            self.send(200, self.files[self.path.removeprefix(resolve)], "application/octet-stream")
        elif self.path == "/words":
            self.send(200, self.files["words"], "text/plain")
        else:
            self.send(404, b"{}", "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer([self.about(name) for name in urllib.parse.parse_qs(body)["paths"]])

    def about(self, name: str) -> dict[str, Any]:
        lfs = {"oid": hashlib.sha256(FILES[name]).hexdigest(), "size": len(FILES[name]), "pointerSize": 100}
        return {"type": "file", "path": name, "size": len(FILES[name]), "oid": "0" * 40, "lfs": lfs}

    def answer(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), "application/json")

    def send(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The environment that leads to it."""
    Hub.asked, Hub.files = [], {**FILES, "words": WORDS}
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(module, "WORDS_URL", f"{address}/words")
        yield {"HF_ENDPOINT": address}
        server.shutdown()
        thread.join()


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(paths=Paths(base=tmp_path / "base", cache=tmp_path / "cache"))


def test_a_set_is_fetched_once_and_then_read(hub: dict[str, str], context: RunContext) -> None:
    events: list[Event] = []
    (found,) = fetch_task_data(["GSM8K"], context, events.append, hub)
    assert (found.name, found.complete, set(found.splits)) == ("gsm8k", True, {"train", "test"})
    assert any(isinstance(event, StageProgress) for event in events)
    places = Places.of(context.paths)
    assert sorted(conversation.messages[0].content for conversation in open_task("gsm8k", places=places)) == [
        f"{number}?" for number in range(10)
    ]
    assert len(open_task("gsm8k", "train", places=places)) == 5
    asked = len(Hub.asked)
    assert fetch_task_data(["gsm8k"], context, events.append, {**hub, "HF_HUB_OFFLINE": "1"}) == [found]
    assert len(Hub.asked) == asked
    # what is gone is fetched again, and nothing else
    (context.paths.tasks / "openai--gsm8k" / "main" / "test" / "00001.parquet").unlink()
    fetch_task_data(["gsm8k"], context, events.append, hub)
    assert len([path for path in Hub.asked[asked:] if "resolve" in path]) == 1
    assert len(open_task("gsm8k", places=places)) == 10


def test_words(hub: dict[str, str], context: RunContext) -> None:
    found = fetch_task_data(["words"], context, lambda event: None, hub)
    assert [task.name for task in found] == ["spellingbee"]
    assert (context.paths.tasks / "words" / WORDS_FILE).read_bytes() == WORDS
    assert len(open_task("simplespelling", "train", places=Places.of(context.paths), size=7)) == 7


def test_what_is_damaged_on_the_way_gets_no_name(hub: dict[str, str], context: RunContext) -> None:
    Hub.files["main/train-00000-of-00001.parquet"] = bytes(len(FILES["main/train-00000-of-00001.parquet"]))
    Hub.files["words"] = b"<html>sign in</html>"
    for name, error in (("gsm8k", DownloadError), ("words", DamagedError)):
        with pytest.raises(error):
            fetch_task_data([name], context, lambda event: None, hub)
    assert [task.name for task in list_task_data(Places.of(context.paths)) if task.complete] == []
    with pytest.raises(MissingError):
        open_task("gsm8k", "train", places=Places.of(context.paths))


def test_what_cannot_be_had(hub: dict[str, str], context: RunContext) -> None:
    with pytest.raises(UsageError, match="no task facts that needs data"):
        fetch_task_data(["facts"], context, lambda event: None, hub)
    with pytest.raises(MissingError, match="mmlu"):
        fetch_task_data(["mmlu"], context, lambda event: None, hub)
    with pytest.raises(MissingError, match="OFFLINE"):
        fetch_task_data(["gsm8k"], context, lambda event: None, {**hub, "HF_HUB_OFFLINE": "1"})
    assert all(not any(task.splits.values()) for task in list_task_data(Places.of(context.paths)))
