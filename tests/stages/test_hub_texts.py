"""Data sets of the hub are fetched once and imported; the hub here is a server of our own."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanochat.config.importing import ImportConfig
from nanochat.data.manifest import read_manifest
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.stages.hub_texts import choose_files
from nanochat.stages.importing import import_texts

FILES = {
    "README.md": b"# About",
    "train/a.jsonl": b"".join(b'{"text": "document %d"}\n' % number for number in range(50)),
    "test/b.jsonl": b'{"text": "held out"}\n',
    "dataset_infos.json": b"{}",
    ".gitattributes": b"",
}
COMMIT = "c0ffee" + "0" * 34


class Hub(http.server.BaseHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        resolve = f"/datasets/ada/notes/resolve/{COMMIT}/"
        if self.path.startswith("/api/datasets/ada/notes"):
            self.answer({"id": "ada/notes", "sha": COMMIT, "siblings": [{"rfilename": name} for name in FILES]})
        elif self.path.startswith(resolve) and self.path.removeprefix(resolve) in FILES:
            self.send(200, FILES[self.path.removeprefix(resolve)], "application/octet-stream")
        else:
            self.send(404, b"{}", "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer([self.about(name) for name in urllib.parse.parse_qs(body)["paths"]])

    def about(self, name: str) -> dict[str, Any]:
        digest = hashlib.sha256(FILES[name]).hexdigest()
        lfs = {"oid": digest, "size": len(FILES[name]), "pointerSize": 100}
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
def hub() -> Iterator[dict[str, str]]:
    """The environment that leads to it."""
    Hub.asked = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": "hf_secret"}
        server.shutdown()
        thread.join()


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    return RunContext(paths=Paths(base=tmp_path / "base", cache=tmp_path / "cache"))


def test_which_files_are_the_data() -> None:
    assert choose_files(list(FILES), "") == ["train/a.jsonl", "test/b.jsonl"]
    assert choose_files(list(FILES), "train") == ["train/a.jsonl"]
    assert choose_files(list(FILES), "*/b*") == ["test/b.jsonl"]
    assert choose_files(["a.parquet", "b.jsonl", "c.PARQUET.md"], "") == ["a.parquet"]


def test_a_data_set_of_the_hub(hub: dict[str, str], context: RunContext) -> None:
    def get(place: str, **options: Any) -> Any:
        return import_texts(ImportConfig(**options), [place], context, lambda event: None, environ=hub)

    result = get("hf:ada/notes")
    assert (result.documents, result.files) == (51, 2)
    manifest = read_manifest(result.folder)
    assert manifest is not None
    assert manifest.made_by == "nanochat data import hf:ada/notes --name mine"
    assert "hf_secret" not in (result.folder / "manifest.json").read_text()
    fetched = [path for path in Hub.asked if "resolve" in path]
    assert get("hf:ada/notes").already
    assert get("hf:ada/notes/train*", name="train").documents == 50
    assert [path for path in Hub.asked if "resolve" in path] == fetched  # each file once


def test_what_the_hub_does_not_have(hub: dict[str, str], context: RunContext) -> None:
    for place, error in (("hf:ada/other", MissingError), ("hf:ada/notes/none*", MissingError), ("hf:ada", UsageError)):
        with pytest.raises(error):
            import_texts(ImportConfig(), [place], context, lambda event: None, environ=hub)
    with pytest.raises(MissingError, match="OFFLINE"):
        offline = {**hub, "HF_HUB_OFFLINE": "1"}
        import_texts(ImportConfig(), ["hf:ada/notes"], context, lambda event: None, environ=offline)
