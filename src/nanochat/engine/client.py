"""The side of the front-end: a model in a process of its own, asked over a pipe.

Nothing here loads torch: the interface is there at once and stays quick, whatever the model does. The process is
started by `start`, loads while questions can already be asked, and ends with this one. When it dies, whoever waits is
told, and the next question starts it anew; the conversations are kept on this side.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from nanochat import errors
from nanochat.config.chat import SamplingConfig
from nanochat.engine.events import ContextTrimmed, SessionEvent, TurnFinished
from nanochat.engine.messages import Ask, Ended, Failed, Loaded, Order, Said, Stop
from nanochat.errors import NanochatError
from nanochat.tokenizer.conversation import Message

END_WAIT_S = 2.0


class WorkerDied(NanochatError):
    """The process of the model is gone."""


class _Link:
    """One life of the process: it, the pipe to it, and who waits for what it says."""

    def __init__(self, order: Order) -> None:
        from nanochat.engine.worker import main

        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=main, args=(order, theirs), daemon=True, name="nanochat-model")
        self.process.start()
        theirs.close()
        self.ready = threading.Event()
        self.loaded: Loaded | None = None
        self.failed: NanochatError | None = None
        self._inboxes: dict[int, queue.SimpleQueue[Any]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def open(self, number: int) -> queue.SimpleQueue[Any]:
        """Where what is said to one question arrives."""
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            self._inboxes[number] = inbox
            if self.failed:  # it ended before anybody could tell this inbox
                inbox.put(self.failed)
        return inbox

    def close(self, number: int) -> None:
        """Nobody waits for this any more."""
        with self._lock:
            self._inboxes.pop(number, None)

    def send(self, message: Ask | Stop) -> None:
        """Say something; that the process is dead is told by its end of the pipe."""
        with suppress(OSError), self._lock:
            self.pipe.send(message)

    def _read(self) -> None:
        """Hand out what the process says, until it ends."""
        with suppress(EOFError, OSError):
            while True:
                for message in self.pipe.recv():
                    with self._lock:
                        self._hand_out(message)
        self.process.join(END_WAIT_S)
        code = self.process.exitcode
        how = f"signal {-code}" if code and code < 0 else f"exit status {code}"
        with self._lock:
            self.failed = self.failed or WorkerDied(
                f"the process of the model ended ({how})",
                "ask again: it is started anew; where memory is short, try --dtype int8",
            )
            for inbox in self._inboxes.values():
                inbox.put(self.failed)
        self.ready.set()

    def _hand_out(self, message: Said | Ended | Failed | Loaded) -> None:
        if isinstance(message, Loaded):
            self.loaded = message
            self.ready.set()
        elif isinstance(message, Failed) and message.number is None:
            self.failed = _error(message)
        elif inbox := self._inboxes.get(message.number or 0):
            if isinstance(message, Failed):
                inbox.put(_error(message))
            else:
                inbox.put(message.event if isinstance(message, Said) else message)


class Worker:
    """A model in a process of its own.

    Args:
        order: which model, and how.
    """

    def __init__(self, order: Order) -> None:
        self.order = order
        self._link: _Link | None = None
        self._lock = threading.Lock()
        self._numbers = 0

    def start(self) -> None:
        """Begin to load; returns at once. Does nothing while the process lives."""
        self._alive()

    def wait(self, timeout_s: float | None = None) -> Loaded | None:
        """What was loaded, when it is; None when that takes longer than `timeout_s`.

        Raises:
            NanochatError: it cannot be loaded, or the process has died.
        """
        link = self._link or self._alive()
        if not link.ready.wait(timeout_s):
            return None
        if link.failed:
            raise link.failed
        return link.loaded

    def ask(
        self, messages: tuple[Message, ...], text: str, config: SamplingConfig
    ) -> Iterator[SessionEvent | tuple[Message, ...]]:
        """Events of an answer, and then the conversation with it; to close the iterator stops the answer.

        Raises:
            NanochatError: what the engine raises, or that the process has died.
        """
        link = self._alive()
        with self._lock:
            self._numbers += 1
            number = self._numbers
        inbox = link.open(number)
        link.send(Ask(number, messages, text, config))
        over = False
        try:
            while not over:
                said = inbox.get()
                over = isinstance(said, NanochatError | Ended)
                if isinstance(said, NanochatError):
                    raise said
                yield said.messages if isinstance(said, Ended) else said
        finally:
            link.close(number)
            if not over:
                link.send(Stop(number))

    def close(self) -> None:
        """End the process."""
        with self._lock:
            link, self._link = self._link, None
        if link is None:
            return
        link.process.terminate()
        link.process.join(END_WAIT_S)
        if link.process.is_alive():
            link.process.kill()
            link.process.join()

    def _alive(self) -> _Link:
        """The process, started anew when it has died."""
        with self._lock:
            if self._link is None or not self._link.process.is_alive():
                self._link = _Link(self.order)
            return self._link


class RemoteSession:
    """One conversation with a worker; as `nanochat.engine.session.Session` to whoever shows it.

    Args:
        worker: started or not.
        config: how to sample, and the longest answer.
        system: text that goes before the first message.
    """

    def __init__(self, worker: Worker, config: SamplingConfig, system: str | None = None) -> None:
        self.worker = worker
        self.config = config
        self._opening = (Message.text("system", system),) if system else ()
        self.messages: tuple[Message, ...] = self._opening

    def reset(self) -> None:
        """Start over."""
        self.messages = self._opening

    def restore(self, messages: tuple[Message, ...]) -> None:
        """Go on from another conversation, of whole turns."""
        self.messages = messages

    def ask(self, text: str) -> Iterator[SessionEvent]:
        """Send a message and stream the answer; closed early, what was said so far is kept.

        Raises:
            NanochatError: as `Worker.ask`; the conversation is as before then.
        """
        said = ""
        before, trimmed, ended = self.messages, 0, False
        try:
            for event in self.worker.ask(before, text, self.config):
                if isinstance(event, tuple):
                    self.messages, ended = event, True
                    continue
                if isinstance(event, ContextTrimmed):
                    trimmed = event.turns
                elif not isinstance(event, TurnFinished):
                    said += getattr(event, "text", "")
                yield event
        except NanochatError:
            ended = True
            raise
        finally:
            if not ended and said:  # stopped: what the worker still knows of it is not waited for
                opening, turns = before[: len(self._opening)], before[len(self._opening) + 2 * trimmed :]
                answer = (Message.text("user", text), Message.text("assistant", said))
                self.messages = (*opening, *turns, *answer)


def _error(message: Failed) -> NanochatError:
    kind = getattr(errors, message.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, NanochatError)):
        kind = NanochatError
    return kind(message.message, message.hint)
