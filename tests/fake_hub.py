"""A hub of data sets on this machine, for tests that fetch from it: one repository, with the files it is given."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

COMMIT = "c0ffee" + "0" * 34


@dataclass(kw_only=True)
class FakeHub:
    """What it has, and what it was asked.

    Attributes:
        repo: the one data set it knows.
        files: as it describes them, by path.
        sent: what it sends instead of some of them, damaged on the way, or at other addresses: `/words`.
        asked: paths of GET requests.
        address: of its server.
    """

    repo: str
    files: Mapping[str, bytes]
    sent: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    address: str = ""

    @property
    def fetched(self) -> list[str]:
        """Requests for files."""
        return [path for path in self.asked if "/resolve/" in path]


@contextlib.contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub while its server runs."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        hub.address = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: FakeHub

    def do_GET(self) -> None:
        self.hub.asked.append(self.path)
        name = self.path.removeprefix(f"/datasets/{self.hub.repo}/resolve/{COMMIT}/")
        if self.path.startswith(f"/api/datasets/{self.hub.repo}"):
            siblings = [{"rfilename": name} for name in self.hub.files]
            self.answer({"id": self.hub.repo, "sha": COMMIT, "siblings": siblings})
        elif (data := self.hub.sent.get(name, self.hub.files.get(name))) is not None:
            self.send(200, data, "application/octet-stream")
        else:
            self.send(404, b"{}", "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer([self.about(name) for name in urllib.parse.parse_qs(body)["paths"]])

    def about(self, name: str) -> dict[str, Any]:
        data = self.hub.files[name]
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 100}
        return {"type": "file", "path": name, "size": len(data), "oid": "0" * 40, "lfs": lfs}

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
