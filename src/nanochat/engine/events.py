"""What happens while a model answers, as whoever shows it sees it. Light: no torch, so that any process can read it.

Several answers to one question come as one stream: `sample` says which of them an event belongs to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nanochat.tokenizer.conversation import Message

if TYPE_CHECKING:
    from nanochat.engine.steps import StopReason


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could have stood somewhere.

    Attributes:
        id: None where it is not known: other servers name tokens by their text alone.
        data: its bytes, which may be part of a character; the name of a special token.
        logprob: under the model at temperature 1.
    """

    id: int | None
    data: bytes
    logprob: float

    @property
    def text(self) -> str:
        r"""The bytes as text, those that are no whole character as \xf0."""
        return self.data.decode("utf-8", "backslashreplace")

    @property
    def probability(self) -> float:
        """From 0 to 1."""
        return math.exp(self.logprob)


@dataclass(frozen=True, slots=True)
class Token(Candidate):
    """A token that does stand there.

    Attributes:
        forced: put there instead of sampled, as a prefix or as a tool's result; its logprob is 0 then.
        special: whether it is one that no text can make.
        top: the likeliest tokens of its place, likeliest first, as many as were asked for.
    """

    forced: bool = False
    special: bool = False
    top: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of an answer. It is what the model said: nothing that a terminal may see as it stands."""

    text: str
    sample: int = 0


@dataclass(frozen=True, slots=True)
class Tokens:
    """The next tokens of an answer, for those who asked for them. The one that ends it is among them."""

    tokens: tuple[Token, ...]
    sample: int = 0


@dataclass(frozen=True, slots=True)
class ToolUsed:
    """The model called a tool; `result` is None where the expression has none."""

    expression: str
    result: str | None
    latency_s: float
    sample: int = 0


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """An answer is complete.

    Attributes:
        text: all of its text, tool calls left out.
        tokens: generated tokens, those of tool calls and results included.
        tokens_per_s: of the tokens after the first; 0 where there is one or none.
        stop_reason: see `StopReason`.
        time_to_first_token_s: from the question to the first token.
        prompt_tokens: those of everything that stood before the answer.
        message: the answer with its tool calls.
        ids: its tokens without the one that ended it; none where they are not known.
    """

    text: str
    tokens: int
    tokens_per_s: float
    stop_reason: StopReason
    time_to_first_token_s: float
    prompt_tokens: int
    message: Message
    ids: tuple[int, ...] = ()
    sample: int = 0


@dataclass(frozen=True, slots=True)
class ContextTrimmed:
    """So many of the oldest turns (a question and its answer) were forgotten to make room."""

    turns: int


StreamEvent = TextDelta | Tokens | ToolUsed | TurnFinished
SessionEvent = StreamEvent | ContextTrimmed


def nothing_said(sample: int) -> TurnFinished:
    """The end of an answer that was stopped before it began."""
    return TurnFinished("", 0, 0.0, "cancelled", 0.0, 0, Message.text("assistant", ""), sample=sample)


def merged(first: StreamEvent, second: StreamEvent) -> StreamEvent | None:
    """Two events of one answer as one; None where they cannot be."""
    if isinstance(first, TextDelta) and isinstance(second, TextDelta):
        return TextDelta(first.text + second.text, first.sample)
    if isinstance(first, Tokens) and isinstance(second, Tokens):
        return Tokens(first.tokens + second.tokens, first.sample)
    return None
