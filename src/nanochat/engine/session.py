"""A conversation with a model: text in, events out.

The session keeps the history, tool calls included, streams text that is always valid Unicode, and forgets its
oldest turns when the context is full. It prints nothing: terminal, server and test consume the same events.

What was said is kept as the ids it was said in, so that the next prompt goes on exactly where the last answer ended
and the engine need only read what is new: text that is encoded again may give other ids.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass

from nanochat.config.chat import SamplingConfig
from nanochat.engine.backend import ContextUse
from nanochat.engine.engine import Engine
from nanochat.engine.events import ContextTrimmed, SessionEvent, TurnFinished
from nanochat.engine.stream import SampleStream, Stream
from nanochat.errors import ContextError
from nanochat.tokenizer.conversation import Conversation, Message
from nanochat.tokenizer.render import render, render_for_completion
from nanochat.tokenizer.special import ASSISTANT_END


@dataclass(frozen=True, slots=True)
class _Turn:
    """A question and its answer; `ids` are those of the answer with its end."""

    user: Message
    answer: Message
    ids: tuple[int, ...]


class Session:
    """One conversation.

    Args:
        engine: generates.
        config: how to sample, and the longest answer.
        system: text that goes before the first message, whatever is forgotten.
        known: ids of answers that were generated before; those of this session are added.
    """

    def __init__(
        self,
        engine: Engine,
        config: SamplingConfig,
        system: str | None = None,
        known: MutableMapping[Message, tuple[int, ...]] | None = None,
    ) -> None:
        self.engine = engine
        self.config = config
        self.system = Message.text("system", system) if system else None
        self._turns: list[_Turn] = []
        self._known = {} if known is None else known

    @property
    def messages(self) -> tuple[Message, ...]:
        """The conversation as far as it is remembered."""
        system = (self.system,) if self.system else ()
        return (*system, *(message for turn in self._turns for message in (turn.user, turn.answer)))

    def reset(self) -> None:
        """Start over."""
        self._turns.clear()

    def restore(self, messages: tuple[Message, ...]) -> None:
        """Go on from another conversation, of whole turns: one that was saved, or this one as it was before.

        Raises:
            ConversationError: roles out of turn.
        """
        if messages and messages[0].role == "system":
            self.system, messages = messages[0], messages[1:]
        if messages:
            Conversation(messages)
        questions, answers = messages[::2], messages[1::2]
        self._turns = [
            _Turn(user, answer, self._known.get(answer) or self._encoded(answer))
            for user, answer in zip(questions, answers, strict=False)
        ]

    def ask(self, text: str, stop: threading.Event | None = None) -> Iterator[SessionEvent]:
        """Send a message and stream the answer.

        When the iterator is closed or interrupted, what was said so far is kept as the answer.

        Args:
            text: never read as special tokens.
            stop: set from any thread, it ends the answer within one step, also while the prompt is being read.

        Raises:
            ContextError: the message alone is longer than the context; nothing is forgotten then.
        """
        user = Message.text("user", text)
        prompt, forgotten = self.fit(user)
        if forgotten:
            del self._turns[:forgotten]
            yield ContextTrimmed(forgotten)
        stream = Stream(self.engine, prompt, self.config, stop=stop)
        (said,) = stream.samples
        answered = False
        try:
            for event in stream:
                answered = isinstance(event, TurnFinished) and event.stop_reason != "cancelled"
                yield event
        finally:
            stream.close()
            if answered or said.ids:
                self._turns.append(_Turn(user, said.answer.message(), self.remember(said)))

    def remember(self, said: SampleStream) -> tuple[int, ...]:
        """Keep the ids of an answer, with its end, for when it is part of a prompt."""
        message, ids = said.answer.message(), said.closed_ids()
        end = self.engine.tokenizer.special(ASSISTANT_END)
        self._known[message] = self._encoded(message) if ids is None else (*ids, end)
        return self._known[message]

    def use(self, user: Message) -> ContextUse:
        """How full the context is with the next question."""
        prompt, forgotten = self._fitted(user)
        return ContextUse(len(prompt), self.engine.context, forgotten)

    def fit(self, user: Message) -> tuple[list[int], int]:
        """The prompt that ends with this message, and how many of the oldest turns it has no room for.

        Raises:
            ContextError: the message alone is longer than the context.
        """
        prompt, forgotten = self._fitted(user)
        context = self.engine.context
        if len(prompt) >= context:
            excess = len(prompt) - context + 1
            raise ContextError(
                f"the message is {excess} tokens too long: it makes {len(prompt)}, the context has {context}",
                f"shorten it by about {excess * len(user.content) // len(prompt) + 1} characters",
            )
        return prompt, forgotten

    def _fitted(self, user: Message) -> tuple[list[int], int]:
        """As `fit`, also where the message alone is too long."""
        context = self.engine.context
        # Room for an answer is worth more than old turns: up to a quarter of the context.
        room = max(1, min(self.config.max_new_tokens, context // 4))
        for forgotten in range(len(self._turns) + 1):
            prompt = self._prompt(user, forgotten)
            if len(prompt) + room <= context:
                break
        return prompt, forgotten  # at the worst less room than wished for, but some

    def _prompt(self, user: Message, forgotten: int) -> list[int]:
        """The ids of the turns that are kept, then the question."""
        tokenizer = self.engine.tokenizer
        ids: list[int] = []
        for asked, answered in [*((turn.user, turn.ids) for turn in self._turns[forgotten:]), (user, ())]:
            system = (self.system,) if self.system and not ids else ()
            question = render_for_completion(tokenizer, Conversation((*system, asked)))
            ids += (question if not ids else question[1:]) + list(answered)  # only the first one brings its bos
        return ids

    def _encoded(self, answer: Message) -> tuple[int, ...]:
        """The ids of an answer that was not generated here."""
        question = Message.text("user", "")
        ids, _ = render(self.engine.tokenizer, Conversation((question, answer)))
        return tuple(ids[len(render_for_completion(self.engine.tokenizer, Conversation((question,)))) :])
