"""An OpenAI-compatible server on loopback whose answers a test writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-very-secret"


class Reply:
    """What the server does with one request: a status and bytes, or anything that a function does."""

    def __init__(
        self,
        body: bytes,
        status: int = 200,
        headers: dict[str, str] | None = None,
        act: Callable[[Any], None] | None = None,
    ) -> None:
        self.body, self.status, self.headers, self.act = body, status, headers or {}, act


def said(text: Any) -> Reply:
    return Reply(json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode())


class Scripted:
    """A server whose answers are a function of the number of the request."""

    def __init__(self, reply: Callable[[int], Reply]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.models = Reply(b'{"data": [{"id": "first-model"}]}')
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._send(outer.models)

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
                self._send(reply(len(outer.requests) - 1))

            def _send(self, answer: Reply) -> None:
                if answer.act:
                    answer.act(self)
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda request, address: None  # type: ignore[method-assign]
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self) -> Iterator[Scripted]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def conversations(number: int, count: int = 10, name: str = "Ada") -> list[Any]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"Who, {number}.{at}?"},
                {"role": "assistant", "content": f"I am {name}."},
            ]
        }
        for at in range(count)
    ]


def good(number: int) -> Reply:
    return said(json.dumps(conversations(number)))
