"""The process of the model: it loads, answers several conversations at once, and ends with whoever started it.

It listens from the first moment, also while it loads or computes: a stop is seen between two steps of the engine, and
the end of the pipe, which is the end of the front-end however it came, ends the process. Events wait for each other
while one is on its way, so that a slow reader gets them in few large lots.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import traceback
from collections import OrderedDict
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from nanochat.engine.messages import Ask, Ended, Failed, Loaded, Order, Said, Stop
from nanochat.errors import NanochatError
from nanochat.tokenizer.conversation import Message

if TYPE_CHECKING:
    from nanochat.engine.engine import Engine

KNOWN_ANSWERS = 256  # whose ids are remembered, so that a conversation goes on without being read again


def main(order: Order, pipe: Connection) -> None:
    """Serve until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the front-end, which says what is to stop
    outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
    threading.Thread(target=_send, args=(pipe, outbox), daemon=True).start()
    server = _Server(order, outbox)
    threading.Thread(target=server.load, daemon=True).start()
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # at once, in the middle of whatever the other threads do
        if isinstance(message, Ask):
            server.begin(message)
        else:
            server.stop(message)


def _send(pipe: Connection, outbox: queue.SimpleQueue[object]) -> None:
    """All that has come in since the last lot, as one lot."""
    while True:
        lot = [outbox.get()]
        with suppress(queue.Empty):
            while True:
                lot.append(outbox.get_nowait())
        try:
            pipe.send(lot)
        except OSError:
            os._exit(0)
        if any(isinstance(message, Failed) and message.number is None for message in lot):
            os._exit(1)


class _Server:
    """Answers, each in a thread of its own; the engine generates them together."""

    def __init__(self, order: Order, outbox: queue.SimpleQueue[object]) -> None:
        self.order = order
        self.outbox = outbox
        self._engine: Engine | None = None
        self._loaded = threading.Event()
        self._stops: dict[int, threading.Event] = {}
        self._known: OrderedDict[Message, tuple[int, ...]] = OrderedDict()

    def load(self) -> None:
        """Load the model, and say so."""
        try:
            self.outbox.put(self._load())
        except NanochatError as error:
            self.outbox.put(Failed(None, type(error).__name__, error.message, error.hint))
        except BaseException as error:
            traceback.print_exc()
            self.outbox.put(_failed(None, error))
        else:
            self._loaded.set()

    def begin(self, ask: Ask) -> None:
        """Answer in a new thread."""
        self._stops[ask.number] = threading.Event()
        threading.Thread(target=self._answer, args=(ask,), daemon=True).start()

    def stop(self, message: Stop) -> None:
        """End an answer that is still going on."""
        if event := self._stops.get(message.number):
            event.set()

    def _load(self) -> Loaded:
        import torch

        from nanochat.checkpoints.selector import describe_place
        from nanochat.engine.load import load_engine
        from nanochat.runtime.devices import pick_device, pick_threads

        order = self.order
        torch.set_num_threads(pick_threads(order.threads))
        device = pick_device(order.device)
        dtype = None if order.dtype == "auto" else getattr(torch, order.dtype)
        notices: list[str] = []
        self._engine, checkpoint = load_engine(
            order.paths, order.selector, device, dtype, notices.append, rows=order.rows
        )
        said = str(dtype or self._engine.model.compute_dtype).removeprefix("torch.")
        return Loaded(describe_place(checkpoint.path), device, said, self._engine.context, tuple(notices))

    def _answer(self, ask: Ask) -> None:
        from nanochat.engine.session import Session

        self._loaded.wait()
        assert self._engine is not None
        stop = self._stops[ask.number]
        try:
            session = Session(self._engine, ask.config, known=self._known)
            session.restore(ask.messages)
            for event in session.ask(ask.text, stop):
                self.outbox.put(Said(ask.number, event))
            while len(self._known) > KNOWN_ANSWERS:
                self._known.popitem(last=False)
            self.outbox.put(Ended(ask.number, session.messages))
        except NanochatError as error:
            self.outbox.put(Failed(ask.number, type(error).__name__, error.message, error.hint))
        except BaseException as error:
            traceback.print_exc()
            self.outbox.put(_failed(ask.number, error))
        finally:
            self._stops.pop(ask.number, None)


def _failed(number: int | None, error: BaseException) -> Failed:
    """An error that nobody expected; memory that ended is one that can be mended."""
    from nanochat.runtime.memory import is_out_of_memory

    if is_out_of_memory(error):
        return Failed(number, "OutOfMemoryError", "memory has run out", "try --dtype int8, or a smaller model")
    return Failed(number, "NanochatError", f"the engine failed: {error!r}", "this is a bug; its trace stands above")
