"""Answers to one prompt as text while they are generated, then why each ended and how long it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from nanochat.config.chat import SamplingConfig
from nanochat.engine.answer import Answer
from nanochat.engine.engine import Engine
from nanochat.engine.events import Candidate, StreamEvent, Token, Tokens, TurnFinished
from nanochat.engine.steps import GenerationStep, StopReason
from nanochat.engine.tools import Tool
from nanochat.tokenizer.special import OUTPUT_END, OUTPUT_START, PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer


class SampleStream:
    """One of the answers.

    Args:
        tokenizer: of the ids.
        stops: texts that end it.
        number: of the sample.

    Attributes:
        answer: its parts as far as they have come.
        ids: its tokens, without the one that ended it.
        finished: whether its last event has been told.
    """

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...], number: int) -> None:
        self.answer = Answer(tokenizer, stops, number)
        self.ids: list[int] = []
        self.finished = False
        self._tokenizer = tokenizer
        self._count = 0
        self._first_at = 0.0

    def take(self, step: GenerationStep) -> None:
        """Note one token."""
        if not self._count:
            self._first_at = time.perf_counter()
        self._count += 1
        if step.stop_reason != "stop":
            self.ids.append(step.token)

    def end(self, reason: StopReason, began: float, prompt_tokens: int) -> Iterator[StreamEvent]:
        """Events of what was held back, and the last one."""
        self.finished = True
        yield from self.answer.finish()
        now = time.perf_counter()
        first_at = self._first_at or now
        elapsed_s = now - first_at
        yield TurnFinished(
            text=self.answer.text,
            tokens=self._count,
            tokens_per_s=(self._count - 1) / elapsed_s if self._count > 1 and elapsed_s > 0 else 0.0,
            stop_reason=reason,
            time_to_first_token_s=first_at - began if self._count else 0.0,
            prompt_tokens=prompt_tokens,
            message=self.answer.message(),
            ids=tuple(self.ids),
            sample=self.answer.sample,
        )

    def closed_ids(self) -> tuple[int, ...] | None:
        """Tokens that end a tool call that was cut, behind those that were said; None where a stop text cut these."""
        if self.answer.stopped:  # they hold the beginning of the stop text
            return None
        special = self._tokenizer.special
        closers = {special(PYTHON_START): special(PYTHON_END), special(OUTPUT_START): special(OUTPUT_END)}
        marks = [token for token in self.ids if token in closers or token in closers.values()]
        closing = [closers[marks[-1]]] if marks and marks[-1] in closers else []
        return (*self.ids, *closing)


class Stream:
    """Iterate over it once for the events of all answers; close it to end them early.

    Args:
        engine: generates.
        prompt: token ids, bos first.
        config: how to sample and when to stop.
        prefix: tokens that each answer has to begin with.
        stop: set from any thread, it ends them within one step, also while the prompt is being read.
        samples: how many answers.
        tokens: whether to tell every token.
        tool: what they may call; None is the engine's.

    Attributes:
        samples: the answers as far as they have come.

    Raises:
        ContextError, UsageError: as `Engine.generate`.
    """

    def __init__(
        self,
        engine: Engine,
        prompt: Sequence[int],
        config: SamplingConfig,
        prefix: Sequence[int] = (),
        stop: threading.Event | None = None,
        *,
        samples: int = 1,
        tokens: bool = False,
        tool: Tool | None = None,
    ) -> None:
        self.samples = [SampleStream(engine.tokenizer, config.stop, number) for number in range(samples)]
        self._tokenizer = engine.tokenizer
        self._specials = {engine.tokenizer.special(name) for name in engine.tokenizer.special_tokens}
        self._tells_tokens = tokens
        self._began = time.perf_counter()
        self._prompt_tokens = len(prompt)
        self._steps = engine.generate(prompt, config, samples, prefix=prefix, stop=stop, tool=tool)
        self._events = self._read()

    def __iter__(self) -> Iterator[StreamEvent]:
        """The events."""
        return self._events

    def close(self) -> None:
        """End the answers where they are."""
        self._events.close()  # type: ignore[attr-defined]

    def _read(self) -> Iterator[StreamEvent]:
        with closing(self._steps) as steps:  # type: ignore[type-var]
            for step in steps:
                sample = self.samples[step.row]
                sample.take(step)
                if self._tells_tokens:
                    yield Tokens((self._token(step),), step.row)
                yield from sample.answer.take(step)
                if step.stop_reason:
                    yield from sample.end(step.stop_reason, self._began, self._prompt_tokens)
        for sample in self.samples:
            if not sample.finished:
                yield from sample.end("cancelled", self._began, self._prompt_tokens)

    def _token(self, step: GenerationStep) -> Token:
        data = self._tokenizer.decode_bytes
        top = tuple(Candidate(token, data([token]), logprob) for token, logprob in step.top_logprobs)
        return Token(step.token, data([step.token]), step.logprob, step.forced, step.token in self._specials, top)
