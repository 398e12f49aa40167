"""One answer as text while it is generated, then why it ended and how long it took."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing

from nanochat.config.chat import SamplingConfig
from nanochat.engine.answer import Answer
from nanochat.engine.engine import Engine
from nanochat.engine.events import StreamEvent, TurnFinished


class Stream:
    """Iterate over it once for the events of an answer; close it to end the answer early.

    Args:
        engine: generates.
        prompt: token ids, bos first.
        config: how to sample and when to stop.
        prefix: tokens the answer has to begin with.
        stop: set from any thread, it ends the answer within one step, also while the prompt is being read.

    Attributes:
        answer: its parts as far as they have come.
        tokens: its ids, without the one that ended it.

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
    ) -> None:
        self.answer = Answer(engine.tokenizer, config.stop)
        self.tokens: list[int] = []
        self._began = time.perf_counter()
        self._prompt_tokens = len(prompt)
        self._steps = engine.generate(prompt, config, prefix=prefix, stop=stop)
        self._events = self._read()

    def __iter__(self) -> Iterator[StreamEvent]:
        """The events."""
        return self._events

    def close(self) -> None:
        """End the answer where it is."""
        self._events.close()  # type: ignore[attr-defined]

    def _read(self) -> Iterator[StreamEvent]:
        count, first_at, reason = 0, self._began, None
        with closing(self._steps) as steps:  # type: ignore[type-var]
            for step in steps:
                if not count:
                    first_at = time.perf_counter()
                count += 1
                reason = step.stop_reason
                if reason != "stop":
                    self.tokens.append(step.token)
                yield from self.answer.take(step)
        yield from self.answer.finish()
        elapsed_s = time.perf_counter() - first_at
        yield TurnFinished(
            text=self.answer.text,
            tokens=count,
            tokens_per_s=(count - 1) / elapsed_s if count > 1 and elapsed_s > 0 else 0.0,
            stop_reason=reason or "cancelled",
            time_to_first_token_s=first_at - self._began,
            prompt_tokens=self._prompt_tokens,
        )
