"""The side of the front-end: a model in a process of its own, asked over a pipe.

Nothing here loads torch: the interface is there at once and stays quick, whatever the model does. The process is
started by `start`, loads while questions can already be asked, and ends with this one. When it dies, whoever waits is
told, and the next question starts it anew; the conversations are kept on this side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

from nanochat.config.chat import SamplingConfig, ToolName
from nanochat.engine.backend import ChatBackend, ContextUse, Examination, Loaded, Question
from nanochat.engine.events import ContextTrimmed, SessionEvent, TextDelta, TurnFinished
from nanochat.engine.link import Link, WorkerReply
from nanochat.engine.messages import Ask, Count, Examine, Order, UseTool, Wanted
from nanochat.errors import NanochatError
from nanochat.tokenizer.conversation import Message


class Worker:
    """A model in a process of its own: a `nanochat.engine.backend.ChatBackend`.

    Args:
        order: which model, and how.
    """

    local = True

    def __init__(self, order: Order) -> None:
        self.order = order
        self._link: Link | None = None
        self._lock = threading.Lock()
        self._numbers = 0

    @property
    def tool(self) -> ToolName:
        """What the model may call."""
        return self.order.tool

    @property
    def name(self) -> str:
        """The place of what is loaded, or what was ordered."""
        loaded = self._link.loaded if self._link else None
        return loaded.place if loaded else self.order.selector or "the newest model"

    def start(self) -> None:
        """Begin to load; returns at once. Does nothing while the process lives."""
        self._alive()

    def wait(self, timeout_s: float | None = None) -> Loaded | None:
        """What was loaded, when it is; None when that takes longer than `timeout_s`.

        Raises:
            NanochatError: it cannot be loaded, or the process has died.
        """
        link = self._link or self._alive()
        link.wait(timeout_s)
        if link.failed:
            raise link.failed
        return link.loaded

    def ask(self, question: Question) -> WorkerReply:
        """Answers on their way. Iterating raises what the engine raises, or that the process has died."""
        return self._want(lambda number: Ask(number, question))

    def count(self, messages: tuple[Message, ...], timeout_s: float | None = None) -> ContextUse:
        """How much of the context a conversation takes; see `ChatBackend.count`.

        Raises:
            NanochatError: as `wait`; ConversationError; no answer in time.
        """
        result = self._want(lambda number: Count(number, messages)).wait(timeout_s)
        if not isinstance(result, ContextUse):
            raise _late(timeout_s)
        return result

    def examine(
        self, text: str, messages: tuple[Message, ...] = (), top: int = 0, timeout_s: float | None = None
    ) -> Examination:
        """How likely each token of a text is; see `ChatBackend.examine`.

        Raises:
            NanochatError: as `wait`; ContextError; ConversationError; no answer in time.
        """
        result = self._want(lambda number: Examine(number, text, messages, top)).wait(timeout_s)
        if not isinstance(result, Examination):
            raise _late(timeout_s)
        return result

    def models(self) -> tuple[str, ...]:
        """Every checkpoint there is."""
        from nanochat.checkpoints.listing import selectors

        return selectors(self.order.paths)

    def switch(self, model: str) -> None:
        """Load another checkpoint, in the process that runs; what is being answered is answered by the old one.

        Raises:
            MissingError, UsageError: there is none of this name; nothing has changed.
        """
        from nanochat.checkpoints.selector import candidates

        candidates(self.order.paths, model)
        with self._lock:
            self.order = replace(self.order, selector=model)
            if self._link and self._link.failed:
                self._link = None  # it ends by itself
            elif self._link:
                self._link.load(self.order)
        self._alive()

    def use_tool(self, tool: ToolName) -> None:
        """Let the model call this from the next answer on, of this process and of those after it."""
        with self._lock:
            self.order = replace(self.order, tool=tool)
            if self._link:
                self._link.send(UseTool(tool))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            link, self._link = self._link, None
        if link:
            link.end("the model was closed")

    def _want(self, wanted: Callable[[int], Wanted]) -> WorkerReply:
        link = self._alive()
        with self._lock:
            self._numbers += 1
            number = self._numbers
        return WorkerReply(link, number, wanted(number))

    def _alive(self) -> Link:
        """The process, started anew when it has died."""
        with self._lock:
            if self._link is None or not self._link.process.is_alive():
                self._link = Link(self.order)
            return self._link


class RemoteSession:
    """One conversation with a backend; as `nanochat.engine.session.Session` to whoever shows it.

    Args:
        backend: started or not.
        config: how to sample, and the longest answer.
        system: text that goes before the first message.
    """

    def __init__(self, backend: ChatBackend, config: SamplingConfig, system: str | None = None) -> None:
        self.backend = backend
        self.config = config
        self._opening: tuple[Message, ...] = (Message.text("system", system),) if system else ()
        self.messages: tuple[Message, ...] = self._opening

    @property
    def system(self) -> str | None:
        """The text before the first message."""
        return self._opening[0].content if self._opening else None

    @system.setter
    def system(self, text: str | None) -> None:
        turns = self.messages[len(self._opening) :]
        self._opening = (Message.text("system", text),) if text else ()
        self.messages = (*self._opening, *turns)

    def reset(self) -> None:
        """Start over."""
        self.messages = self._opening

    def restore(self, messages: tuple[Message, ...]) -> None:
        """Go on from another conversation, of whole turns."""
        self._opening = messages[:1] if messages and messages[0].role == "system" else ()
        self.messages = messages

    def take_back(self) -> str | None:
        """Forget the last question with its answer; the question, None where there is none."""
        if len(self.messages) < len(self._opening) + 2:
            return None
        question = self.messages[-2].content
        self.messages = self.messages[:-2]
        return question

    def ask(self, text: str, *, tokens: bool = False) -> Iterator[SessionEvent]:
        """Send a message and stream the answer; closed early, what was said so far is kept.

        Raises:
            NanochatError: as `ChatBackend.ask`; the conversation is as before then.
        """
        user = Message.text("user", text)
        reply = self.backend.ask(Question(messages=(*self.messages, user), config=self.config, tokens=tokens))
        said, kept, answer = "", self.messages, None
        try:
            for event in reply:
                if isinstance(event, ContextTrimmed):
                    kept = (*self._opening, *kept[len(self._opening) + 2 * event.turns :])
                elif isinstance(event, TextDelta):
                    said += event.text
                elif isinstance(event, TurnFinished) and (event.tokens or event.stop_reason != "cancelled"):
                    answer = event.message
                yield event
        except NanochatError:
            said, answer = "", None
            raise
        finally:
            reply.close()
            if answer is None and said:  # stopped: what the model still knows of it is not waited for
                answer = Message.text("assistant", said)
            if answer:
                self.messages = (*kept, user, answer)


def _late(timeout_s: float | None) -> NanochatError:
    return NanochatError(f"no answer from the model within {timeout_s:g} s", "ask again when it is less busy")
