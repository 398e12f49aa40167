"""What a chat asks of a model, wherever that model is. Light: no torch, no network library.

A backend keeps no conversation: a question brings all of it, so that a front-end may go on from any place of it. What
was read before is still known where the model is, and only what is new is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from nanochat.config.chat import SamplingConfig, ToolName
from nanochat.engine.events import SessionEvent, Token
from nanochat.errors import UsageError
from nanochat.tokenizer.conversation import Message

MAX_SAMPLES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is to be answered, and how.

    Attributes:
        messages: a conversation that ends with what the user says.
        text: plain text to go on from instead, as base models do it.
        config: how to sample, the longest answer, and how many alternatives each token is told with.
        samples: answers that are wanted; with a seed, sample i has the seed plus i.
        prefix: tokens that each answer has to begin with, results of tools included; they are part of it.
        tokens: whether `Tokens` are to be told too.

    Raises:
        UsageError: nothing to answer, both kinds of it, or an impossible number of samples.
    """

    messages: tuple[Message, ...] = ()
    text: str | None = None
    config: SamplingConfig = field(default_factory=SamplingConfig)
    samples: int = 1
    prefix: tuple[int, ...] = ()
    tokens: bool = False

    def __post_init__(self) -> None:
        if (self.text is None) == (not self.messages):
            raise UsageError("a question is either a conversation or a text", "give one of them")
        if self.messages and self.messages[-1].role != "user":
            raise UsageError("the last message is not the user's", "leave out the answer that is to be given")
        if not 1 <= self.samples <= MAX_SAMPLES:
            raise UsageError(f"samples ({self.samples}) must be between 1 and {MAX_SAMPLES}", "ask for 4")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model is ready.

    Attributes:
        place: `d12:sft@650`; its name where it is another server's.
        device: where it computes.
        dtype: of its weights; empty where it is not known.
        context: tokens of prompt and answer together; 0 where it is not known.
        notices: lines a person should read.
    """

    place: str
    device: str
    dtype: str
    context: int
    notices: tuple[str, ...] = ()


class Reply(Protocol):
    """Answers on their way: iterate over it once."""

    def __iter__(self) -> Iterator[SessionEvent]:
        """The events; the last one of each sample is its `TurnFinished`.

        Raises:
            NanochatError: what is wrong with the question or the model, or that the model is gone.
        """
        ...

    def stop(self) -> None:
        """End the answers where they are, from any thread; the events go on to `TurnFinished`."""
        ...

    def close(self) -> None:
        """End the answers; nobody reads on."""
        ...


@dataclass(frozen=True, slots=True)
class ContextUse:
    """How full the context is.

    Attributes:
        used: tokens of the prompt as it would be read now.
        limit: tokens of prompt and answer together.
        forgotten: oldest turns that have no room in it.
    """

    used: int
    limit: int
    forgotten: int


@dataclass(frozen=True, slots=True)
class Examination:
    """What a model thinks of a text, token by token."""

    tokens: tuple[Token, ...]

    @property
    def bytes(self) -> int:
        """Those of the text."""
        return sum(len(token.data) for token in self.tokens if not token.special)

    @property
    def bits_per_byte(self) -> float:
        """NaN for no text."""
        return -self._nats / (math.log(2) * self.bytes) if self.bytes else math.nan

    @property
    def perplexity(self) -> float:
        """Of a token; NaN for no text."""
        return math.exp(-self._nats / len(self.tokens)) if self.tokens else math.nan

    @property
    def _nats(self) -> float:
        return math.fsum(token.logprob for token in self.tokens)


class ChatBackend(Protocol):
    """`nanochat.engine.client.Worker` is one, and so is `nanochat.engine.elsewhere.ServerBackend`.

    Attributes:
        name: `d12:sft@650`, or a model of another server and where that is.
        local: False where only `ask` can be done, without a prefix.
    """

    @property
    def name(self) -> str:
        """What it is, before it is loaded too."""
        ...

    @property
    def local(self) -> bool:
        """Whether the model is ours."""
        ...

    @property
    def tool(self) -> ToolName | None:
        """What it may call; None where that is another server's business."""
        ...

    def start(self) -> None:
        """Begin to load; returns at once."""
        ...

    def wait(self, timeout_s: float | None = None) -> Loaded | None:
        """What was loaded, when it is; None when that takes longer.

        Raises:
            NanochatError: it cannot be loaded.
        """
        ...

    def ask(self, question: Question) -> Reply:
        """Answers; also while it loads, and several questions at once.

        Raises:
            UsageError: this backend cannot do what is asked for.
        """
        ...

    def count(self, messages: tuple[Message, ...], timeout_s: float | None = None) -> ContextUse:
        """How much of the context a conversation takes; blocks while the model loads.

        Raises:
            NanochatError: as `wait`; UsageError where nobody can tell.
        """
        ...

    def examine(
        self, text: str, messages: tuple[Message, ...] = (), top: int = 0, timeout_s: float | None = None
    ) -> Examination:
        """How likely each token of a text is, by itself or as the answer to messages that end with the user's.

        Args:
            text: of any length by itself; an answer must fit the context with what stands before it.
            messages: none for plain text.
            top: alternatives told with each token.
            timeout_s: longest wait.

        Raises:
            NanochatError: as `wait`; ContextError; UsageError where nobody can tell.
        """
        ...

    def models(self) -> tuple[str, ...]:
        """What `switch` takes.

        Raises:
            NanochatError: a server that does not say.
        """
        ...

    def switch(self, model: str) -> None:
        """Go on with another model; `start`, `wait` and `ask` as before.

        Raises:
            NanochatError: it is known that there is no such model; nothing has changed.
        """
        ...

    def use_tool(self, tool: ToolName) -> None:
        """Let the model call this from the next answer on.

        Raises:
            UsageError: the model is another server's.
        """
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
