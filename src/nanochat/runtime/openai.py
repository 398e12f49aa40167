"""An OpenAI-compatible server, as one who asks it sees it.

Covered: a bounded number of tries, each within a time limit as a whole and of bounded size, waits that the server asks
for, and a key that is sent to this server alone and stands in no message. Redirects are refused. Answers that are
shown while they come are `openai_stream`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nanochat.errors import NanochatError, UsageError

TRIES = 3
WAITS_S = (1.0, 4.0)
LONGEST_WAIT_S = 30.0  # that a server may ask for with Retry-After
MAX_ANSWER_BYTES = 4_000_000


class ServerError(NanochatError):
    """The server cannot be asked any more."""


class Unreachable(ServerError):
    """Nothing answers where the server should be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Where a server is, and how its errors are told.

    Attributes:
        url: as it was given, with or without /v1.
        key: sent as bearer token, and never part of a message; empty sends none.
        key_name: variable that holds the key.
        model_flag: what names the model on the command line.

    Raises:
        UsageError: a key that no header can hold, or a URL that cannot be read.
    """

    url: str
    key: str = field(default="", repr=False)
    key_name: str = "OPENAI_API_KEY"
    model_flag: str = "--url-model"

    def __post_init__(self) -> None:
        import httpx2

        if any(not "!" <= char <= "~" for char in self.key):
            raise UsageError(f"{self.key_name} holds a character that no key has", "set it again, without line breaks")
        try:
            url = httpx2.URL(self.base)
        except (httpx2.InvalidURL, ValueError) as error:
            raise UsageError(f"{self.url!a} is no URL: {error}", "try --url http://localhost:8080") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise UsageError(f"{self.url!a} is no URL: it needs http:// and a host", "try --url http://localhost:8080")

    @property
    def base(self) -> str:
        """What paths such as /models are appended to."""
        base = self.url.rstrip("/").removesuffix("/chat/completions")
        return base if re.search(r"/v\d+$", base) else f"{base}/v1"

    @property
    def headers(self) -> dict[str, str]:
        """Those of every request."""
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def clean(self, error: object) -> str:
        """The text of an error without the key."""
        text = str(error)
        return text.replace(self.key, "***") if self.key else text

    def unreachable(self, error: object) -> Unreachable:
        """Nothing answers."""
        return Unreachable(
            f"nothing answers at {self.base} ({self.clean(error)})", "start the server, or leave out --url"
        )

    def refusal(self, status: int, data: bytes, sent: Iterable[str] = ()) -> ServerError:
        """An answer that another try cannot mend; `sent` are the fields of the request that can be done without."""
        said = " ".join(_complaint(data)[:200].split())
        unknown = [name for name in sent if name in said]
        hint = f"set {self.key_name}" if status in (401, 403) else f"check --url and {self.model_flag}"
        if unknown:
            hint = f"what is left as it is by default is not sent: leave out {', '.join(unknown)}"
        return ServerError(f"{self.base} refuses: status {status} {self.clean(ascii(said))}", hint)

    def exhausted(self, trouble: str) -> ServerError:
        """No try has helped."""
        return ServerError(
            f"{self.base} gave no answer in {TRIES} tries: {trouble}", "is it overloaded? try again later"
        )


def passes(status: int) -> bool:
    """Whether another try may meet another status."""
    return status in (408, 429) or status >= 500


def asked_wait_s(headers: Mapping[str, str]) -> float:
    """The seconds of Retry-After, no more than are sensible; 0 for none."""
    wait = headers.get("Retry-After", "")
    return min(float(wait), LONGEST_WAIT_S) if wait.isdecimal() else 0.0


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

        self._address = Address(url=url, key=key)
        self._model = model
        self._timeout_s = timeout_s
        self._sleep = sleep
        timeout = httpx2.Timeout(timeout_s, connect=min(10.0, timeout_s))
        self._client = httpx2.Client(headers=self._address.headers, timeout=timeout)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def complete(self, prompt: str, seed: int) -> str:
        """The text of an answer; empty where the server sent none.

        Raises:
            ServerError: no usable answer after all tries, or one that another try cannot mend.
        """
        if not self._model:
            listed = model_names(self._request("GET", "/models"))
            if not listed:
                raise ServerError(f"{self._address.base} lists no models", "name one with --url-model")
            self._model = listed[0]
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
                raise self._address.unreachable(error) from None
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                trouble = self._address.clean(error) or type(error).__name__
                continue
            if status == 200:
                return json_object(data)
            trouble = f"status {status}"
            if not passes(status):
                raise self._address.refusal(status, data)
            if wait_s and attempt < TRIES - 1:
                self._sleep(wait_s)
        raise self._address.exhausted(trouble)

    def _fetch(self, method: str, path: str, body: Any) -> tuple[int, bytes, float]:
        """Status, body and the seconds of Retry-After; the whole within the time limit."""
        import httpx2

        deadline = time.monotonic() + self._timeout_s
        with self._client.stream(method, self._address.base + path, json=body) as response:
            data = b""
            for piece in response.iter_bytes():
                data += piece
                if len(data) > MAX_ANSWER_BYTES:
                    raise httpx2.ReadError(f"an answer of more than {MAX_ANSWER_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise httpx2.ReadTimeout(f"the answer took more than {self._timeout_s:g} s")
            return response.status_code, data, asked_wait_s(response.headers)


def _complaint(data: bytes) -> str:
    """What is wrong, in the words of the server: in the places where servers put it, else the whole body."""
    value: Any = json_object(data)
    for name in ("error", "detail", "message"):
        value = value.get(name, value) if isinstance(value, dict) else value
    return value if isinstance(value, str) else data.decode("utf-8", "replace")


def model_names(listed: Mapping[str, Any]) -> tuple[str, ...]:
    """The names in an answer to GET /models."""
    data = listed.get("data")
    entries = data if isinstance(data, list) else []
    return tuple(entry["id"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str))


def json_object(data: bytes | str) -> dict[str, Any]:
    """A JSON object; empty for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
