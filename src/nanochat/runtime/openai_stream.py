"""Answers of an OpenAI-compatible server while they come, which can be stopped at any moment.

All requests of one `Chunks` run in one thread with an event loop of its own: to stop them cancels them wherever they
are (connecting, waiting for the first word, reading), which closes the connection, which is how the server learns of
it. Until an answer has begun, another try is made where it may help. A server that does not stream is understood too.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nanochat.errors import NanochatError
from nanochat.runtime.openai import (
    MAX_ANSWER_BYTES,
    WAITS_S,
    Address,
    ServerError,
    asked_wait_s,
    json_object,
    model_names,
    passes,
)

if TYPE_CHECKING:
    import httpx2

CONNECT_S = 10.0
SILENCE_S = 600.0  # between two words: a slow server may read a long prompt for minutes, and a person can stop it
LIST_S = 20.0
USAGE = "stream_options"
OPTIONAL = ("top_k", "top_p", "min_p", "repetition_penalty", "seed", "logprobs", "top_logprobs")
"""Fields of a request that some servers do not know, and that are sent only where somebody wanted them."""


class Chunks:
    """Iterate over it once for (number of the request, a JSON object that came), and (number, None) when it is over.

    Args:
        address: of the server.
        path: behind the base, "/chat/completions".
        bodies: of the requests, which are made at the same time.
        unknown: fields that this server is known not to take, which are left out; what it refuses now is added.

    Raises:
        ServerError: the first request that failed; the others end.
    """

    def __init__(self, address: Address, path: str, bodies: Sequence[dict[str, Any]], unknown: set[str]) -> None:
        self._address = address
        self._unknown = unknown
        self._url = address.base + path
        self._bodies = bodies
        self._inbox: queue.SimpleQueue[tuple[int, dict[str, Any] | None] | BaseException] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        threading.Thread(target=self._run, daemon=True, name="nanochat-server").start()

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any] | None]]:
        """The objects."""
        left = len(self._bodies)
        try:
            while left:
                came = self._inbox.get()
                if isinstance(came, BaseException):
                    raise came
                left -= came[1] is None
                yield came
        finally:
            self.stop()

    def stop(self) -> None:
        """End the requests, from any thread; the iterator goes on to their ends."""
        self._stopped.set()
        if self._loop:
            with suppress(RuntimeError):  # it is over and closed
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:
            self._inbox.put(error)

    async def _all(self) -> None:
        import httpx2

        timeout = httpx2.Timeout(SILENCE_S, connect=CONNECT_S)
        limits = httpx2.Limits(max_connections=None)
        async with httpx2.AsyncClient(headers=self._address.headers, timeout=timeout, limits=limits) as client:
            self._tasks = [asyncio.create_task(self._one(client, number)) for number in range(len(self._bodies))]
            self._loop = asyncio.get_running_loop()
            if self._stopped.is_set():
                self._cancel()
            await asyncio.gather(*self._tasks)

    async def _one(self, client: httpx2.AsyncClient, number: int) -> None:
        """One request; however it ends, that is told."""
        try:
            async for chunk in self._tried(client, self._bodies[number]):
                self._inbox.put((number, chunk))
        except asyncio.CancelledError:
            pass
        except NanochatError as error:
            self._inbox.put(error)
        finally:
            self._inbox.put((number, None))

    async def _tried(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        import httpx2

        trouble, begun = "", False
        waits = iter(WAITS_S)
        wait_s: float | None = 0.0
        while wait_s is not None:
            await asyncio.sleep(wait_s)
            body = {name: value for name, value in body.items() if name not in self._unknown}
            try:
                async with client.stream("POST", self._url, json=body) as response:
                    if response.status_code == 200:
                        async for chunk in _objects(response):
                            begun = True
                            yield self._checked(chunk)
                        return
                    data = await _beginning(response)
            except httpx2.ConnectError as error:
                raise self._address.unreachable(error) from None
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                trouble = self._address.clean(error) or type(error).__name__
                if begun:
                    raise ServerError(
                        f"the answer broke off: {trouble}", "ask again; what came of it is shown above"
                    ) from None
                wait_s = next(waits, None)
                continue
            trouble = f"status {response.status_code}"
            if USAGE in body and USAGE.encode() in data:  # an older server; figures are counted here then
                self._unknown.add(USAGE)
                wait_s = 0.0
                continue
            if not passes(response.status_code):
                raise self._address.refusal(response.status_code, data, [name for name in OPTIONAL if name in body])
            wait_s = next(waits, None)
            if wait_s is not None:
                wait_s += asked_wait_s(response.headers)
        raise self._address.exhausted(trouble)

    def _checked(self, chunk: dict[str, Any]) -> dict[str, Any]:
        """The object, unless it is an error that came in the middle."""
        if error := chunk.get("error"):
            said = error.get("message") if isinstance(error, dict) else error
            raise ServerError(f"the server failed: {self._address.clean(ascii(str(said)))}", "ask again")
        return chunk


def list_models(address: Address, patience_s: float = LIST_S) -> tuple[str, ...]:
    """The names of the models of a server, in its order; none where it has no list.

    Args:
        address: of the server.
        patience_s: with a server that says nothing.

    Raises:
        Unreachable: nothing answers there.
        ServerError: it refuses, or says nothing in that time.
    """
    import httpx2

    timeout = httpx2.Timeout(patience_s, connect=CONNECT_S)
    try:
        with httpx2.Client(headers=address.headers, timeout=timeout) as client:
            response = client.get(f"{address.base}/models")
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise address.unreachable(error) from None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise ServerError(
            f"{address.base} does not list its models: {address.clean(error) or type(error).__name__}", "check --url"
        ) from None
    if response.status_code in (401, 403):
        raise address.refusal(response.status_code, response.content)
    return model_names(json_object(response.content)) if response.status_code == 200 else ()


async def _objects(response: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream, or the one of an answer that came as a whole."""
    import httpx2

    if response.headers.get("content-type", "").startswith("application/json"):
        yield json_object(await _beginning(response))
        return
    async for event in httpx2.EventSource(response):
        if event.data == "[DONE]":
            return
        if chunk := json_object(event.data):
            yield chunk


async def _beginning(response: httpx2.Response) -> bytes:
    """The body, as far as it is of sensible size."""
    data = b""
    async for piece in response.aiter_bytes():
        data += piece
        if len(data) > MAX_ANSWER_BYTES:
            break
    return data
