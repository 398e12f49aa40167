"""A real HTTP server on loopback that misbehaves as it is told, and a stand-in for the hub's API on it.

    with Server() as server:
        server.put("/a.bin", data)
        server.script("/a.bin", status(503, retry_after=0), reset_after(1000))     # then it behaves
        ... server.url("/a.bin") ...
        assert server.count("/a.bin") == 3

A fault is a function of the request that answers it in its own way; each request for a path uses up one of them. All
requests are kept with their headers, and the bytes that went out are counted.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"

Fault = Callable[["Handler", bytes], None]


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]

    @property
    def start(self) -> int:
        """The first byte it asks for."""
        return int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").split("-")[0] or 0)


class Server:
    """The server; a context manager.

    Args:
        bytes_per_s: of every connection, None for no limit.
        tls: a context that makes it speak https.
    """

    def __init__(self, bytes_per_s: float | None = None, tls: Any = None) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = {}
        self.seen: list[Seen] = []
        self.sent: dict[str, int] = {}
        self.bytes_per_s = bytes_per_s
        self.ranges = True
        self.etags = True
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self._httpd = _Httpd(("127.0.0.1", 0), Handler)
        self._httpd.owner = self
        if tls is not None:
            self._httpd.socket = tls.wrap_socket(self._httpd.socket, server_side=True)
        self._scheme = "https" if tls is not None else "http"
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()

    @property
    def base(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._httpd.server_address[1]}"

    def url(self, path: str) -> str:
        return self.base + path

    def put(self, path: str, data: bytes) -> None:
        self.files[path] = data

    def script(self, path: str, *faults: Fault) -> None:
        """What happens to the next requests for a path, one after the other."""
        self.faults[path] = list(faults)

    def requests(self, path: str, method: str = "GET") -> list[Seen]:
        return [seen for seen in self.seen if seen.path == path and seen.method == method]

    def count(self, path: str) -> int:
        return len(self.requests(path))


class _Httpd(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    owner: Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that are killed are no news."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Httpd

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        owner = self.server.owner
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with owner.lock:
            owner.seen.append(Seen(self.command, path, headers))
            faults = owner.faults.get(path) if self.command != "HEAD" else None
            fault = faults.pop(0) if faults else None
        data = owner.files.get(path, b"")
        if fault is not None:
            fault(self, data)
        elif path.startswith("/api/"):
            self.api(path)
        elif path in owner.files:
            self.file(data)
        else:
            self.plain(404, b"no such file")

    def plain(self, status: int, body: bytes, **headers: Any) -> None:
        """A short answer."""
        self.send_response(status)
        for name, value in {"Content_Type": "text/plain", "Content_Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def file(self, data: bytes, etag: str | None = None, **headers: Any) -> None:
        """The file, or the part of it that is asked for, as RFC 9110 wants it."""
        owner = self.server.owner
        tag = etag or f'"{hashlib.md5(data).hexdigest()}"'
        start, status = 0, 200
        wanted = self.headers.get("Range")
        if owner.ranges and wanted and self.headers.get("If-Range", tag) == tag:
            if wanted.startswith("bytes=-"):
                start = max(0, len(data) - int(wanted.removeprefix("bytes=-")))
            else:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
            status = 206
            if start >= len(data):
                self.plain(416, b"", Content_Range=f"bytes */{len(data)}")
                return
        self.send_response(status)
        if owner.etags:
            self.send_header("ETag", tag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        given = {"Content_Type": "application/octet-stream", "Content_Length": len(data) - start, **headers}
        for name, value in given.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.pour(data[start:])

    def pour(self, data: bytes) -> None:
        """The body, at the pace of the server."""
        owner = self.server.owner
        path = unquote(urlsplit(self.path).path)
        pace = owner.bytes_per_s
        lot = 65536 if pace is None else max(1, int(pace / 100))
        if pace is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        for at in range(0, len(data), lot):
            if pace is not None and owner.ending.wait(lot / pace):
                return
            self.wfile.write(data[at : at + lot])
            with owner.lock:
                owner.sent[path] = owner.sent.get(path, 0) + len(data[at : at + lot])

    def reset(self) -> None:
        """Break the connection off with RST."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    # the hub

    def api(self, path: str) -> None:
        """What `huggingface_hub` asks: the files of a data set at a commit, and what some of them are."""
        owner = self.server.owner
        about = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|paths-info)/([^/]+))?", path)
        if about is None:
            self.plain(404, b"{}")
            return
        repo, what = about[1], about[2]
        prefix = f"/datasets/{repo}/resolve/{COMMIT}/"
        files = {name.removeprefix(prefix): data for name, data in owner.files.items() if name.startswith(prefix)}
        if not files:
            self.plain(404, b"{}", X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            return
        if what == "paths-info":
            wanted = self.wanted_paths()
            answer: Any = [self.entry(name, files[name]) for name in wanted if name in files]
        else:
            answer = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in sorted(files)]}
        self.plain(200, json.dumps(answer).encode(), Content_Type="application/json")

    def wanted_paths(self) -> Sequence[str]:
        from urllib.parse import parse_qs

        if (self.headers.get("Content-Type") or "").startswith("application/json"):
            return json.loads(self.body)["paths"]
        return parse_qs(self.body.decode())["paths"]

    @staticmethod
    def entry(name: str, data: bytes) -> Mapping[str, Any]:
        oid = hashlib.sha1(data).hexdigest()
        lfs = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return {"type": "file", "path": name, "size": len(data), "oid": oid, "lfs": lfs}


# faults


def status(code: int, retry_after: float | str | None = None) -> Fault:
    """An error."""
    extra = {} if retry_after is None else {"Retry_After": retry_after}
    return lambda handler, data: handler.plain(code, b"not now", **extra)


def reset_after(count: int) -> Fault:
    """The connection is broken off after so many bytes of the part that was asked for."""

    def fault(handler: Handler, data: bytes) -> None:
        start = int((handler.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        handler.send_header("Content-Length", str(len(data) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.pour(data[start : start + count])
        time.sleep(0.05)  # what is on its way arrives before the reset does
        handler.reset()

    return fault


def broken_off(handler: Handler, data: bytes) -> None:
    """No answer, but RST."""
    handler.reset()


def truncated(count: int) -> Fault:
    """Fewer bytes than Content-Length says, then an orderly end."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.pour(data[:count])
        handler.close_connection = True

    return fault


def trickle(seconds: float) -> Fault:
    """A byte now and then."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for at in range(len(data)):
            if handler.server.owner.ending.wait(seconds):
                return
            handler.wfile.write(data[at : at + 1])

    return fault


def silence(seconds: float = 60) -> Fault:
    """No answer at all."""
    return lambda handler, data: handler.server.owner.ending.wait(seconds) and None  # type: ignore[func-returns-value]


def stall_after(count: int) -> Fault:
    """Some bytes, then none."""

    def fault(handler: Handler, data: bytes) -> None:
        handler.send_response(200)
        handler.send_header("ETag", f'"{hashlib.md5(data).hexdigest()}"')
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.pour(data[:count])
        handler.server.owner.ending.wait(60)
        handler.close_connection = True

    return fault


def web_page(handler: Handler, data: bytes) -> None:
    """A login page with status 200."""
    handler.plain(200, b"<html>Please log in</html>", Content_Type="text/html; charset=utf-8")


def disguised_page(handler: Handler, data: bytes) -> None:
    """The same, and it says that it is the file."""
    handler.plain(200, b"<html>Please log in</html>", Content_Type="application/octet-stream")


def length(count: int) -> Fault:
    """Content-Length says so much, and so much comes, with zeros where there is no more."""
    return lambda handler, data: handler.plain(200, data[:count].ljust(count, b"\0"), Content_Type="a/b")


def whole(handler: Handler, data: bytes) -> None:
    """Status 200 and all of it, whatever part was asked for."""
    handler.plain(200, data, Content_Type="a/b", ETag=f'"{hashlib.md5(data).hexdigest()}"')


def other_part(handler: Handler, data: bytes) -> None:
    """Status 206 with a part that was not asked for."""
    rest = data[7:]
    handler.plain(206, rest, Content_Range=f"bytes 7-{len(data) - 1}/{len(data)}")


def flipped(at: int) -> Fault:
    """One bit is wrong."""

    def fault(handler: Handler, data: bytes) -> None:
        changed = bytearray(data)
        changed[at] ^= 1
        handler.file(bytes(changed), etag=f'"{hashlib.md5(data).hexdigest()}"')

    return fault


def gzipped(handler: Handler, data: bytes) -> None:
    """Compressed on the way, though it was asked not to be."""
    import gzip

    handler.plain(200, gzip.compress(data), Content_Encoding="gzip", Content_Type="a/b")


def redirect(target: str, code: int = 302) -> Fault:
    """Elsewhere."""
    return lambda handler, data: handler.plain(code, b"", Location=target)


def always(fault: Fault, times: int = 1000) -> list[Fault]:
    """The same every time."""
    return [fault] * times


def swap(path: str, data: bytes) -> Fault:
    """From now on the path has other content; this request gets it, too."""

    def fault(handler: Handler, old: bytes) -> None:
        handler.server.owner.files[path] = data
        handler.file(data)

    return fault


@dataclass
class Hub:
    """Data sets on a `Server`."""

    server: Server
    names: list[str] = field(default_factory=list)

    def put(self, repo: str, path: str, data: bytes) -> str:
        """A file at the only commit there is. Returns its path on the server."""
        name = f"/datasets/{repo}/resolve/{COMMIT}/{path}"
        self.server.put(name, data)
        self.names.append(name)
        return name
