"""One answer while it is being generated."""

from __future__ import annotations

from nanochat.engine.answer import Answer
from nanochat.engine.lookup import Lookup
from nanochat.engine.sampling import Choice, Sampler
from nanochat.engine.steps import GenerationStep, Request, StopReason
from nanochat.engine.tools import Tool, ToolUse
from nanochat.tokenizer.tokenizer import Tokenizer


class Row:
    """What has been said, what must be said next, and when to stop.

    Args:
        number: by which its steps are told apart.
        request: the prompt and how to continue it.
        tokenizer: of the ids.
        stop_tokens: ids that end an answer.
        context: tokens of prompt and answer together.
        tool: what the model may call.

    Attributes:
        ids: prompt and answer so far.
        slot: where its keys and values are; None while it waits.
        stop_reason: None until it has ended.
    """

    def __init__(
        self,
        number: int,
        request: Request,
        tokenizer: Tokenizer,
        stop_tokens: frozenset[int],
        context: int,
        tool: Tool | None,
    ) -> None:
        self.number = number
        self.request = request
        self.ids = list(request.prompt)
        self.slot: int | None = None
        self.stop_reason: StopReason | None = None
        self.sampler = Sampler(request.config)
        self.lookup = Lookup()
        self._tools = ToolUse(tokenizer, tool)
        self._stops = Answer(tokenizer, request.config.stop) if request.config.stop else None
        self._stop_tokens = stop_tokens
        self._context = context

    @property
    def generated(self) -> int:
        """Tokens of the answer so far."""
        return len(self.ids) - len(self.request.prompt)

    @property
    def room(self) -> int:
        """Tokens that may still be said."""
        return min(self.request.config.max_new_tokens - self.generated, self._context - len(self.ids))

    def begin(self) -> list[GenerationStep]:
        """The steps of the prefix that the answer must have.

        Results of tools are part of it: only a call that its last token completes is answered here.
        """
        prefix = self.request.prefix
        return [*self._force(prefix[:-1], answers=False), *self._force(prefix[-1:])]

    def take(self, choice: Choice) -> list[GenerationStep]:
        """The step of a chosen token, and of those that are forced in behind it."""
        return self._add(choice.token, forced=False, logprob=choice.logprob, top=choice.top)

    def _force(self, tokens: tuple[int, ...] | list[int], *, answers: bool = True) -> list[GenerationStep]:
        steps: list[GenerationStep] = []
        for token in tokens:
            if self.stop_reason is None:
                steps += self._add(token, forced=True, answers=answers)
        return steps

    def _add(
        self,
        token: int,
        *,
        forced: bool,
        logprob: float = 0.0,
        top: tuple[tuple[int, float], ...] = (),
        answers: bool = True,
    ) -> list[GenerationStep]:
        """The step of a token, and, if calls are to be answered, those of the result of one that it completes."""
        self.ids.append(token)
        call = self._tools.push(token)
        step = GenerationStep(self.number, token, forced, logprob, top, call)
        if self._stops:
            for _ in self._stops.take(step):
                pass
        self.stop_reason = self._reason(token)
        if self.stop_reason:
            return [GenerationStep(self.number, token, forced, logprob, top, call, self.stop_reason)]
        return [step, *self._force(self._tools.forced(call))] if call and answers else [step]

    def _reason(self, token: int) -> StopReason | None:
        """Why the answer ends with this token."""
        if token in self._stop_tokens or (self._stops and self._stops.stopped):
            return "stop"
        if self.generated >= self.request.config.max_new_tokens:
            return "length"
        return "context" if len(self.ids) >= self._context else None
