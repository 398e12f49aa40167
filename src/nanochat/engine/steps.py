"""What the engine is asked for and what it gives: requests, steps, completions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanochat.config.chat import SamplingConfig
from nanochat.engine.tools import ToolCall

StopReason = Literal["stop", "length", "context", "cancelled"]
"""The model ended its answer or said a stop text; `max_new_tokens` were generated; the context is full; nobody wants
more."""


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt to be continued.

    Attributes:
        prompt: token ids, bos first.
        config: how to sample and when to stop.
        prefix: tokens that the answer has to begin with; they are part of it.
    """

    prompt: tuple[int, ...]
    config: SamplingConfig
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """One token of one answer.

    Attributes:
        row: which sample or prompt it belongs to.
        token: its id; the token that ends an answer is a step too.
        forced: whether it was forced in, as a prefix or as part of a tool's result, instead of sampled.
        logprob: log-probability under the model at temperature 1; 0 where forced.
        top_logprobs: (id, log-probability) of the likeliest tokens, as many as were asked for.
        call: the tool call that it completes.
        stop_reason: why the answer ends with this token, None where it goes on.
    """

    row: int
    token: int
    forced: bool = False
    logprob: float = 0.0
    top_logprobs: tuple[tuple[int, float], ...] = ()
    call: ToolCall | None = None
    stop_reason: StopReason | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated for one prompt.

    Attributes:
        tokens: generated ids without the one that ended the answer.
        forced: which of them were forced in.
        logprobs: as in `GenerationStep`.
        text: the tokens decoded, special ones and tool calls included.
        stop_reason: why it ended.
    """

    tokens: tuple[int, ...]
    forced: tuple[bool, ...]
    logprobs: tuple[float, ...]
    text: str
    stop_reason: StopReason
