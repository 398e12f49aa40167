"""One life of a model's process, seen from the front-end: the pipe to it, and who waits for what it says.

Light: no torch. `client` starts lives, and a new one when the last has ended.
"""

from __future__ import annotations

import multiprocessing
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from nanochat import errors
from nanochat.engine.backend import ContextUse, Examination, Loaded
from nanochat.engine.events import SessionEvent
from nanochat.engine.messages import Ended, Failed, FromWorker, Load, Order, Ready, Said, Stop, ToWorker, Wanted
from nanochat.errors import NanochatError

END_WAIT_S = 2.0


class WorkerDied(NanochatError):
    """The process of the model is gone."""


class Link:
    """One life of the process: it, the pipe to it, and who waits for what it says."""

    def __init__(self, order: Order) -> None:
        from nanochat.engine.worker import main

        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=main, args=(theirs, order.log), daemon=True, name="nanochat-model")
        self.process.start()
        theirs.close()
        self.loaded: Loaded | None = None
        self.failed: NanochatError | None = None
        self.ended: str | None = None  # why, where we ended it ourselves
        self._loads = 0
        self._change = threading.Condition()
        self._inboxes: dict[int, queue.SimpleQueue[Any]] = {}
        self._sending = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()
        self.load(order)

    def load(self, order: Order) -> None:
        """Have it load a model, in place of another."""
        with self._change:
            self.loaded = None
            self._loads += 1
            number = self._loads
        self.send(Load(number, order))

    def wait(self, timeout_s: float | None) -> None:
        """Return when the model is loaded or has failed to be, or when the time is over."""
        with self._change:
            self._change.wait_for(lambda: self.loaded or self.failed, timeout_s)

    def open(self, number: int) -> queue.SimpleQueue[Any]:
        """Where what is said to one question arrives."""
        inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._change:
            self._inboxes[number] = inbox
            if self.failed:  # it ended before anybody could tell this inbox
                inbox.put(self.failed)
        return inbox

    def close(self, number: int) -> None:
        """Nobody waits for this any more."""
        with self._change:
            self._inboxes.pop(number, None)

    def send(self, message: ToWorker) -> None:
        """Say something; that the process is dead is told by its end of the pipe."""
        with suppress(OSError), self._sending:
            self.pipe.send(message)

    def end(self, reason: str) -> None:
        """End the process."""
        self.ended = reason
        self.process.terminate()
        self.process.join(END_WAIT_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def _read(self) -> None:
        """Hand out what the process says, until it ends."""
        with suppress(EOFError, OSError):
            while True:
                for message in self.pipe.recv():
                    with self._change:
                        self._hand_out(message)
        self.process.join(END_WAIT_S)
        code = self.process.exitcode
        how = f"signal {-code}" if code and code < 0 else f"exit status {code}"
        died = WorkerDied(
            self.ended or f"the process of the model ended ({how})",
            "ask again: it is started anew" + ("" if self.ended else "; where memory is short, try --dtype int8"),
        )
        with self._change:
            self.failed = self.failed or died
            for inbox in self._inboxes.values():
                inbox.put(self.failed)
            self._change.notify_all()

    def _hand_out(self, message: FromWorker) -> None:
        if isinstance(message, Ready):
            if message.number == self._loads:
                self.loaded = message.loaded
                self._change.notify_all()
        elif isinstance(message, Failed) and message.number is None:
            self.failed = _error(message)
        elif inbox := self._inboxes.get(message.number or 0):
            if isinstance(message, Failed):
                inbox.put(_error(message))
            else:
                inbox.put(message.event if isinstance(message, Said) else message)


class WorkerReply:
    """What one thing that was asked for gives; see `nanochat.engine.backend.Reply`."""

    def __init__(self, link: Link, number: int, wanted: Wanted) -> None:
        self._link = link
        self._number = number
        self._inbox = link.open(number)
        self._over = False
        self.result: ContextUse | Examination | None = None
        link.send(wanted)

    def __iter__(self) -> Iterator[SessionEvent]:
        """The events; to leave early is to close."""
        try:
            while not self._over:
                event = self._next(None)
                if event:
                    yield event
        finally:
            self.close()

    def stop(self) -> None:
        """End it where it is; the events go on to the last one."""
        if not self._over:
            self._link.send(Stop(self._number))

    def close(self) -> None:
        """End it; nobody reads on."""
        self.stop()
        self._over = True
        self._link.close(self._number)

    def wait(self, timeout_s: float | None) -> ContextUse | Examination | None:
        """The result; None when it does not come in time."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with suppress(queue.Empty):
            while not self._over:
                self._next(None if until is None else max(0.0, until - time.monotonic()))
        self.close()
        return self.result

    def _next(self, timeout_s: float | None) -> SessionEvent | None:
        """What comes next; None when it is over."""
        said = self._inbox.get(timeout=timeout_s)
        self._over = isinstance(said, NanochatError | Ended)
        if isinstance(said, NanochatError):
            raise said
        if isinstance(said, Ended):
            self.result = said.result
            return None
        event: SessionEvent = said
        return event


def _error(message: Failed) -> NanochatError:
    kind = getattr(errors, message.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, NanochatError)):
        kind = NanochatError
    return kind(message.message, message.hint)
