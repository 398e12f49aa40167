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
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.config.chat import ToolName
from nanochat.engine.backend import ContextUse, Examination, Loaded
from nanochat.engine.events import ContextTrimmed, TextDelta, Tokens, merged, nothing_said
from nanochat.engine.messages import (
    Ask,
    Count,
    Ended,
    Failed,
    FromWorker,
    Load,
    Order,
    Ready,
    Said,
    Stop,
    UseTool,
    Wanted,
)
from nanochat.errors import NanochatError
from nanochat.tokenizer.conversation import Message

if TYPE_CHECKING:
    from nanochat.engine.engine import Engine

KNOWN_ANSWERS = 256  # whose ids are remembered, so that a conversation goes on without being read again
STOP_CHECK_S = 0.05  # while the model loads


def main(pipe: Connection, log: Path | None) -> None:
    """Serve until the pipe ends; what is written to stdout and stderr meanwhile goes to the end of `log`."""
    if log:
        with suppress(OSError), log.open("ab") as file:  # else where they went before: it is no reason not to answer
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the front-end, which says what is to stop
    outbox: queue.SimpleQueue[FromWorker] = queue.SimpleQueue()
    threading.Thread(target=_send, args=(pipe, outbox), daemon=True).start()
    server = _Server(outbox)
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # at once, in the middle of whatever the other threads do
        if isinstance(message, Load):
            server.load(message)
        elif isinstance(message, Stop):
            server.stop(message)
        elif isinstance(message, UseTool):
            server.use_tool(message)
        else:
            server.begin(message)


def in_lots(messages: Sequence[FromWorker]) -> list[FromWorker]:
    """The same with fewer messages: more text of an answer joins what there is of it, and tokens do likewise."""
    lot: list[FromWorker] = []
    places: dict[tuple[int, int, type], int] = {}  # where text or tokens of an answer can still be added to
    for message in messages:
        event = message.event if isinstance(message, Said) else None
        if isinstance(message, Said) and event and not isinstance(event, ContextTrimmed):
            key = (message.number, event.sample, type(event))
            if key in places:
                place = places[key]
                before = lot[place]
                assert isinstance(before, Said) and not isinstance(before.event, ContextTrimmed)
                both = merged(before.event, event)
                assert both
                lot[place] = Said(message.number, both)
                continue
            if isinstance(event, TextDelta | Tokens):
                places[key] = len(lot)
            else:  # nothing moves past a tool call or an end
                places = {other: place for other, place in places.items() if other[:2] != key[:2]}
        lot.append(message)
    return lot


def _send(pipe: Connection, outbox: queue.SimpleQueue[FromWorker]) -> None:
    """All that has come in since the last lot, as one lot."""
    while True:
        lot = [outbox.get()]
        with suppress(queue.Empty):
            while True:
                lot.append(outbox.get_nowait())
        try:
            pipe.send(in_lots(lot))
        except OSError:
            os._exit(0)
        if any(isinstance(message, Failed) and message.number is None for message in lot):
            os._exit(1)


@dataclass(slots=True)
class _Model:
    """One that is being loaded, or has been."""

    order: Order
    engine: Engine | None = None
    ready: threading.Event = field(default_factory=threading.Event)
    known: OrderedDict[Message, tuple[int, ...]] = field(default_factory=OrderedDict)


class _Server:
    """What is asked for, each in a thread of its own; the engine generates answers together."""

    def __init__(self, outbox: queue.SimpleQueue[FromWorker]) -> None:
        self.outbox = outbox
        self._model: _Model | None = None
        self._stops: dict[int, threading.Event] = {}

    def load(self, message: Load) -> None:
        """Load a model in the background; what is asked from now on is for it."""
        self._model = _Model(message.order)
        threading.Thread(target=self._load, args=(message.number, self._model), daemon=True).start()

    def use_tool(self, message: UseTool) -> None:
        """Answers that begin from now on may call this."""
        assert self._model is not None
        self._model.order = replace(self._model.order, tool=message.tool)

    def begin(self, wanted: Wanted) -> None:
        """Do something in a new thread."""
        assert self._model is not None
        stop = self._stops[wanted.number] = threading.Event()
        tool = self._model.order.tool  # of this moment: another one is for the questions behind it
        threading.Thread(target=self._do, args=(wanted, self._model, tool, stop), daemon=True).start()

    def stop(self, message: Stop) -> None:
        """End something that is still going on."""
        if event := self._stops.get(message.number):
            event.set()

    def _load(self, number: int, model: _Model) -> None:
        try:
            self.outbox.put(Ready(number, _load(model)))
        except NanochatError as error:
            self.outbox.put(Failed(None, type(error).__name__, error.message, error.hint))
        except BaseException as error:
            traceback.print_exc()
            self.outbox.put(_failed(None, error))
        else:
            model.ready.set()

    def _do(self, wanted: Wanted, model: _Model, tool: ToolName, stop: threading.Event) -> None:
        try:
            while not (model.ready.wait(STOP_CHECK_S) or stop.is_set()):
                pass
            result = None
            if model.engine:
                result = self._result(wanted, model, model.engine, tool, stop)
            elif isinstance(wanted, Ask):
                for sample in range(wanted.question.samples):
                    self.outbox.put(Said(wanted.number, nothing_said(sample)))
            self.outbox.put(Ended(wanted.number, result))
        except NanochatError as error:
            self.outbox.put(Failed(wanted.number, type(error).__name__, error.message, error.hint))
        except BaseException as error:
            traceback.print_exc()
            self.outbox.put(_failed(wanted.number, error))
        finally:
            self._stops.pop(wanted.number, None)

    def _result(
        self, wanted: Wanted, model: _Model, engine: Engine, tool: ToolName, stop: threading.Event
    ) -> ContextUse | Examination | None:
        from nanochat.engine.answering import answer, count, examine
        from nanochat.engine.load import pick_tool
        from nanochat.engine.tools import call_nothing

        if isinstance(wanted, Count):
            return count(engine, wanted.messages)
        if not isinstance(wanted, Ask):
            return examine(engine, wanted.text, wanted.messages, wanted.top, stop)
        for event in answer(engine, wanted.question, stop, model.known, pick_tool(tool) or call_nothing):
            self.outbox.put(Said(wanted.number, event))
        while len(model.known) > KNOWN_ANSWERS:
            model.known.popitem(last=False)
        return None


def _load(model: _Model) -> Loaded:
    import torch

    from nanochat.checkpoints.selector import describe_place
    from nanochat.engine.load import load_engine
    from nanochat.runtime.devices import pick_device, pick_threads

    order = model.order
    torch.set_num_threads(pick_threads(order.threads))
    device = pick_device(order.device)
    dtype = None if order.dtype == "auto" else getattr(torch, order.dtype)
    notices: list[str] = []
    model.engine, checkpoint = load_engine(
        order.paths, order.selector, device, dtype, notices.append, rows=order.rows, tool=order.tool
    )
    said = str(dtype or model.engine.model.compute_dtype).removeprefix("torch.")
    return Loaded(describe_place(checkpoint.path), device, said, model.engine.context, tuple(notices))


def _failed(number: int | None, error: BaseException) -> Failed:
    """An error that nobody expected; memory that ended is one that can be mended."""
    from nanochat.runtime.memory import is_out_of_memory

    if is_out_of_memory(error):
        return Failed(number, "OutOfMemoryError", "memory has run out", "try --dtype int8, or a smaller model")
    return Failed(
        number, "NanochatError", f"the engine failed: {error!r}", "this is a bug; its trace was printed or logged"
    )
