"""A model behind an OpenAI-compatible server, asked like one of our own: llama.cpp, vLLM, Ollama, `nanochat serve`.

Questions, samples, stopping, log-probabilities and usage are covered, for conversations and for plain text. What needs
the model itself (a prefix of tokens, the likelihood of a text, the size of a prompt before it is sent) is refused in
words. Light: the network library is loaded by the first request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from nanochat.config.chat import ToolName
from nanochat.engine.backend import ContextUse, Examination, Loaded, Question
from nanochat.engine.events import SessionEvent
from nanochat.engine.wire import SampleChunks, request_body
from nanochat.errors import NanochatError, UsageError
from nanochat.runtime.openai import Address, ServerError, Unreachable
from nanochat.runtime.openai_stream import LIST_S, Chunks, list_models
from nanochat.tokenizer.conversation import Message

NAMED_LIST_S = 3.0  # for a list that nobody needs: it only tells early that a server is not there
_REFUSED_HINT = "ask a model of your own: leave out --url"


class ServerBackend:
    """A model of another server: a `nanochat.engine.backend.ChatBackend`.

    Args:
        url: of the server, with or without /v1.
        model: to ask for; empty takes the first that the server lists.
        key: sent as bearer token; empty sends none.
        key_name: variable that holds the key, for messages.

    Raises:
        UsageError: a key that no header can hold, or a URL that cannot be read.
    """

    local = False
    tool = None

    def __init__(self, url: str, model: str = "", key: str = "", key_name: str = "OPENAI_API_KEY") -> None:
        self.address = Address(url=url, key=key, key_name=key_name, model_flag="MODEL")
        self.model = model
        self.unknown: set[str] = set()  # fields of a request that the server has refused
        self._ready = threading.Event()
        self._failed: NanochatError | None = None
        self._starting: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The model and where it is."""
        return f"{self.model or 'a model'} at {self.host}"

    @property
    def host(self) -> str:
        """Host and port of the server."""
        return self.address.base.partition("://")[2].partition("/")[0].rpartition("@")[2]

    def start(self) -> None:
        """Begin to look which models there are; returns at once."""
        if self._starting is None or (self._ready.is_set() and self._failed):
            self._ready.clear()
            self._starting = threading.Thread(target=self._look, daemon=True)
            self._starting.start()

    def wait(self, timeout_s: float | None = None) -> Loaded | None:
        """The model that is asked, when the server has answered; None when that takes longer than `timeout_s`.

        Raises:
            ServerError: it cannot be reached; or where no model is named, it refuses to list them, or has none.
        """
        self.start()
        if not self._ready.wait(timeout_s):
            return None
        if self._failed:
            raise self._failed
        return Loaded(self.model, self.host, "", 0)

    def ask(self, question: Question) -> _ServerReply:
        """Answers on their way.

        Raises:
            UsageError: a prefix, or settings that such servers do not know.
        """
        if question.prefix:
            raise UsageError("another server's model cannot go on from given tokens", _REFUSED_HINT)
        if question.config.logit_bias:
            raise UsageError("ids of tokens mean nothing to another server's model", _REFUSED_HINT)
        return _ServerReply(self, question)

    def count(self, messages: tuple[Message, ...], timeout_s: float | None = None) -> ContextUse:
        """Refused: nobody can tell.

        Raises:
            UsageError: always.
        """
        raise UsageError("another server's model does not say how full its context is", _REFUSED_HINT)

    def examine(
        self, text: str, messages: tuple[Message, ...] = (), top: int = 0, timeout_s: float | None = None
    ) -> Examination:
        """Refused: nobody can tell.

        Raises:
            UsageError: always.
        """
        raise UsageError("another server's model does not say how likely a text is", _REFUSED_HINT)

    def models(self) -> tuple[str, ...]:
        """What the server has.

        Raises:
            ServerError: it cannot be reached, or refuses.
        """
        return list_models(self.address)

    def switch(self, model: str) -> None:
        """Ask another model of this server from now on."""
        self.model = model

    def use_tool(self, tool: ToolName) -> None:
        """Refused: what a server's model may call is the server's business.

        Raises:
            UsageError: always.
        """
        raise UsageError("another server's model calls no tools of this chat", _REFUSED_HINT)

    def close(self) -> None:
        """Nothing to let go of: answers have connections of their own."""

    def _look(self) -> None:
        self._failed = None
        named = bool(self.model)
        try:
            listed = list_models(self.address, NAMED_LIST_S if named else LIST_S)
            if not self.model and not listed:
                raise ServerError(
                    f"{self.address.base} does not say which models it has", "name one: nanochat chat MODEL --url ..."
                )
            self.model = self.model or listed[0]
        except NanochatError as error:
            if not named or isinstance(error, Unreachable):  # else the name is enough, and the answer says the rest
                self._failed = error
        self._ready.set()


class _ServerReply:
    """Answers of a server; see `nanochat.engine.backend.Reply`."""

    def __init__(self, backend: ServerBackend, question: Question) -> None:
        self._backend = backend
        self._question = question
        self._chunks: Chunks | None = None
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[SessionEvent]:
        """The events."""
        while not self._stopped.is_set() and not self._backend.wait(0.05):
            pass
        began = time.perf_counter()
        samples = [SampleChunks(number, began) for number in range(self._question.samples)]
        if not self._stopped.is_set():
            path = "/completions" if self._question.text is not None else "/chat/completions"
            bodies = [request_body(self._backend.model, self._question, number) for number in range(len(samples))]
            self._chunks = Chunks(self._backend.address, path, bodies, self._backend.unknown)
            if self._stopped.is_set():
                self._chunks.stop()
            try:
                for number, chunk in self._chunks:
                    if self._stopped.is_set():
                        break
                    if chunk is None:
                        yield samples[number].end("stop")
                    else:
                        yield from samples[number].take(chunk)
            finally:
                self._chunks.stop()
        for sample in samples:
            if not sample.finished:
                yield sample.end("cancelled")

    def stop(self) -> None:
        """End the answers where they are."""
        self._stopped.set()
        if self._chunks:
            self._chunks.stop()

    def close(self) -> None:
        """End them; nobody reads on."""
        self.stop()
