"""What happens while a model answers, as whoever shows it sees it. Light: no torch, so that any process can read it."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.engine.steps import StopReason


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolUsed:
    """The model called a tool; `result` is None where the expression has none."""

    expression: str
    result: str | None
    latency_s: float


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The answer is complete.

    Attributes:
        text: all of its text, tool calls left out.
        tokens: generated tokens, those of tool calls and results included.
        tokens_per_s: of the tokens after the first; 0 where there is one or none.
        stop_reason: see `StopReason`.
        time_to_first_token_s: from the question to the first token.
        prompt_tokens: those of everything that stood before the answer.
    """

    text: str
    tokens: int
    tokens_per_s: float
    stop_reason: StopReason
    time_to_first_token_s: float
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class ContextTrimmed:
    """So many of the oldest turns (a question and its answer) were forgotten to make room."""

    turns: int


StreamEvent = TextDelta | ToolUsed | TurnFinished
SessionEvent = StreamEvent | ContextTrimmed
