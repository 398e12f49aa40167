"""An OpenAI-compatible server, as one who asks it sees it.

Covered: a bounded number of tries, each within a time limit as a whole and of bounded size, waits that the server asks
for, and a key that is sent to this server alone and stands in no message. Redirects are refused. Not covered: streams.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from nanochat.errors import NanochatError, UsageError

TRIES = 3
WAITS_S = (1.0, 4.0)
LONGEST_WAIT_S = 30.0  # that a server may ask for with Retry-After
MAX_ANSWER_BYTES = 4_000_000


class ServerError(NanochatError):
    """The server cannot be asked any more."""


class Server:
    """An OpenAI-compatible server.

    Args:
        url: of the server, with or without /v1.
        model: to ask for; empty takes the first that the server lists.
        key: sent as bearer token, and never part of a message; empty sends none.
        timeout_s: longest time for one answer as a whole.
        sleep: waits so many seconds.

    Raises:
        UsageError: a key that no header can hold, or a URL that cannot be read.
    """

    def __init__(
        self, url: str, *, model: str, key: str, timeout_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        import httpx2

        if any(not "!" <= char <= "~" for char in key):
            raise UsageError("OPENAI_API_KEY holds a character that no key has", "set it again, without line breaks")
        base = url.rstrip("/").removesuffix("/chat/completions")
        self._base = base if re.search(r"/v\d+$", base) else f"{base}/v1"
        self._model = model
        self._key = key
        self._timeout_s = timeout_s
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        timeout = httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s))
        try:
            httpx2.URL(self._base)
            self._client = httpx2.Client(headers=headers, timeout=timeout)
        except (httpx2.InvalidURL, ValueError) as error:
            raise UsageError(f"{url!a} is no URL: {error}", "try --url http://localhost:8080") from None

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def complete(self, prompt: str, seed: int) -> str:
        """The text of an answer; empty where the server sent none.

        Raises:
            ServerError: no usable answer after all tries, or one that another try cannot mend.
        """
        if not self._model:
            listed = self._request("GET", "/models").get("data")
            first = listed[0].get("id") if isinstance(listed, list) and listed and isinstance(listed[0], dict) else None
            if not isinstance(first, str):
                raise ServerError(f"{self._base} lists no models", "name one with --url-model")
            self._model = first
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 1.0,
            "seed": seed,
        }
        answer = self._request("POST", "/chat/completions", body)
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            return ""
        return text if isinstance(text, str) else ""

    def _request(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        import httpx2

        trouble = ""
        for attempt in range(TRIES):
            if attempt:
                self._sleep(WAITS_S[attempt - 1])
            try:
                status, data, wait_s = self._fetch(method, path, body)
            except httpx2.ConnectError as error:
                raise ServerError(
                    f"nothing answers at {self._base} ({self._clean(error)})", "start the server, or leave out --url"
                ) from None
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                trouble = self._clean(error) or type(error).__name__
                continue
            if status == 200:
                return _object(data)
            trouble = f"status {status}"
            if status not in (408, 429) and status < 500:
                said = " ".join(data[:200].decode("utf-8", "replace").split())
                hint = "set OPENAI_API_KEY" if status in (401, 403) else "check --url and --url-model"
                raise ServerError(f"{self._base} refuses: {trouble} {self._clean(ascii(said))}", hint)
            if wait_s and attempt < TRIES - 1:
                self._sleep(min(wait_s, LONGEST_WAIT_S))
        raise ServerError(
            f"{self._base} gave no answer in {TRIES} tries: {trouble}", "is it overloaded? try again later"
        )

    def _fetch(self, method: str, path: str, body: Any) -> tuple[int, bytes, float]:
        """Status, body and the seconds of Retry-After; the whole within the time limit."""
        import httpx2

        deadline = time.monotonic() + self._timeout_s
        with self._client.stream(method, self._base + path, json=body) as response:
            data = b""
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_ANSWER_BYTES:
                    raise httpx2.ReadError(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout(f"the answer took more than {self._timeout_s:g} s")
            wait = response.headers.get("Retry-After", "")
            return response.status_code, data, float(wait) if wait.isdecimal() else 0.0

    def _clean(self, error: object) -> str:
        text = str(error)
        return text.replace(self._key, "***") if self._key else text


def _object(data: bytes) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
