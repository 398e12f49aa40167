"""A conversation with a model: text in, events out.

The session keeps the history, tool calls included, streams text that is always valid Unicode, and forgets its
oldest turns when the context is full. It prints nothing: terminal, server and test consume the same events.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from nanochat.config.chat import SamplingConfig
from nanochat.engine.engine import Engine, GenerationStep, StopReason
from nanochat.errors import ContextError
from nanochat.tokenizer.conversation import Conversation, Message, Part, PartKind
from nanochat.tokenizer.render import render_for_completion
from nanochat.tokenizer.special import OUTPUT_START, PYTHON_START
from nanochat.tokenizer.stream import StreamDecoder
from nanochat.tokenizer.tokenizer import Tokenizer


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
class ContextTrimmed:
    """So many of the oldest turns (a question and its answer) were forgotten to make room."""

    turns: int


@dataclass(frozen=True, slots=True)
class TurnFinished:
    """The answer is complete.

    Attributes:
        text: all of its text, tool calls left out.
        tokens: generated tokens, those of tool calls and results included.
        tokens_per_s: of the tokens after the first; 0 where there is one or none.
        stop_reason: "stop", "length" or "context".
        time_to_first_token_s: from the question to the first token.
    """

    text: str
    tokens: int
    tokens_per_s: float
    stop_reason: StopReason
    time_to_first_token_s: float


SessionEvent = TextDelta | ToolUsed | ContextTrimmed | TurnFinished


class Session:
    """One conversation.

    Args:
        engine: generates.
        config: how to sample, and the longest answer.
        system: text that goes before the first message, whatever is forgotten.
    """

    def __init__(self, engine: Engine, config: SamplingConfig, system: str | None = None) -> None:
        self.engine = engine
        self.config = config
        self.system = Message.text("system", system) if system else None
        self._turns: list[tuple[Message, Message]] = []

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as far as it is remembered."""
        system = (self.system,) if self.system else ()
        return (*system, *(message for turn in self._turns for message in turn))

    def reset(self) -> None:
        """Start over."""
        self._turns.clear()

    def ask(self, text: str) -> Iterator[SessionEvent]:
        """Send a message and stream the answer.

        When the iterator is closed or interrupted, what was said so far is kept as the answer.

        Args:
            text: never read as special tokens.

        Raises:
            ContextError: the message alone is longer than the context; nothing is forgotten then.
        """
        began = time.perf_counter()
        user = Message.text("user", text)
        prompt, forgotten = self._fit(user)
        if forgotten:
            del self._turns[:forgotten]
            yield ContextTrimmed(forgotten)
        answer = _Answer(self.engine.tokenizer)
        tokens, first_at, reason = 0, began, None
        try:
            for step in self.engine.generate(prompt, self.config):
                if not tokens:
                    first_at = time.perf_counter()
                tokens += 1
                reason = step.stop_reasons[0]
                yield from answer.take(step)
            yield from answer.finish()
        finally:
            if tokens:
                self._turns.append((user, answer.message()))
        elapsed_s = time.perf_counter() - first_at
        yield TurnFinished(
            text=answer.text,
            tokens=tokens,
            tokens_per_s=(tokens - 1) / elapsed_s if tokens > 1 else 0.0,
            stop_reason=reason or "length",
            time_to_first_token_s=first_at - began,
        )

    def _fit(self, user: Message) -> tuple[list[int], int]:
        """The prompt that ends with this message, and how many of the oldest turns it has no room for."""
        context = self.engine.context
        # Room for an answer is worth more than old turns: up to a quarter of the context.
        room = max(1, min(self.config.max_new_tokens, context // 4))
        for forgotten in range(len(self._turns) + 1):
            prompt = self._prompt(user, forgotten)
            if len(prompt) + room <= context:
                return prompt, forgotten
        if len(prompt) >= context:
            excess = len(prompt) - context + 1
            raise ContextError(
                f"the message is {excess} tokens too long: it makes {len(prompt)}, the context has {context}",
                f"shorten it by about {excess * len(user.content) // len(prompt) + 1} characters",
            )
        return prompt, len(self._turns)  # less room than wished for, but some

    def _prompt(self, user: Message, forgotten: int) -> list[int]:
        kept = [message for turn in self._turns[forgotten:] for message in turn]
        system = [self.system] if self.system else []
        return render_for_completion(self.engine.tokenizer, Conversation((*system, *kept, user)))


class _Answer:
    """Sorts the tokens of an answer into text, expressions and results."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.decoder = StreamDecoder(tokenizer)
        self.specials = {tokenizer.special(name) for name in tokenizer.special_tokens}
        self.openers: dict[int, PartKind] = {
            tokenizer.special(PYTHON_START): "python",
            tokenizer.special(OUTPUT_START): "output",
        }
        self.parts: list[Part] = []
        self.kind: PartKind = "text"
        self.piece = ""  # of a text part in progress
        self.inside: list[int] = []  # tokens of a tool part in progress

    @property
    def text(self) -> str:
        """The text parts, one after the other."""
        return "".join(part.text for part in self.parts if part.kind == "text")

    def take(self, step: GenerationStep) -> Iterator[SessionEvent]:
        """Events of the first row's token."""
        token, call = step.tokens[0], step.calls[0]
        if token in self.specials:
            yield from self._turn_to(self.openers.get(token, "text"))
        elif self.kind == "text":
            yield from self._say(self.decoder.push(token))
        else:
            self.inside.append(token)
        if call:
            yield ToolUsed(call.expression, call.result, call.latency_s)

    def finish(self) -> Iterator[SessionEvent]:
        """Events of what was held back."""
        yield from self._turn_to("text")

    def message(self) -> Message:
        """The answer as far as it has come."""
        for _ in self.finish():  # those events come too late for anyone
            pass
        return Message("assistant", tuple(self.parts) or (Part("text", ""),))

    def _say(self, text: str) -> Iterator[SessionEvent]:
        if text:
            self.piece += text
            yield TextDelta(text)

    def _turn_to(self, kind: PartKind) -> Iterator[SessionEvent]:
        """Close the part in progress and open one of another kind."""
        if self.kind == "text":
            yield from self._say(self.decoder.finish())
            if self.piece:
                self.parts.append(Part("text", self.piece))
        elif self.inside:
            self.parts.append(Part(self.kind, self.tokenizer.decode(self.inside)))
        self.kind, self.piece, self.inside = kind, "", []
