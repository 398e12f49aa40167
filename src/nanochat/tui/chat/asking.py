"""An answer on its way: a thread reads it, the interface takes what has come when it has time to show it."""

from __future__ import annotations

import os
import threading
import traceback
from collections import deque

from nanochat.engine.backend import ChatBackend, Question
from nanochat.engine.events import SessionEvent
from nanochat.errors import NanochatError


class Asking:
    """A question that is being answered. The interface is never called back: it looks, as often as it likes.

    Args:
        backend: who answers.
        question: what is asked.
    """

    def __init__(self, backend: ChatBackend, question: Question) -> None:
        self.question = question
        self.error: NanochatError | None = None
        self._events: deque[SessionEvent] = deque()
        self._over = threading.Event()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._reply: object | None = None
        self._thread = threading.Thread(target=self._read, args=(backend,), daemon=True, name="asking")
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether nothing more comes; what has come may not have been taken yet."""
        return self._over.is_set()

    @property
    def stopped(self) -> bool:
        """Whether somebody wanted it to end."""
        return self._stopped.is_set()

    def take(self) -> list[SessionEvent]:
        """What has come since the last time."""
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken

    def stop(self) -> None:
        """End it where it is; what was said is kept. Returns at once."""
        with self._lock:
            self._stopped.set()
            if self._reply is not None:
                self._reply.stop()  # type: ignore[attr-defined]

    def join(self, timeout_s: float | None = None) -> None:
        """Wait until it is over."""
        self._over.wait(timeout_s)

    def _read(self, backend: ChatBackend) -> None:
        try:
            reply = backend.ask(self.question)
            with self._lock:
                self._reply = reply
                if self._stopped.is_set():  # before there was anything to stop
                    reply.stop()
            for event in reply:
                self._events.append(event)
        except NanochatError as error:
            self.error = error
        except Exception as error:  # or "answering" would stand there for ever
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))  # Textual swallows what goes to sys.stderr
            self.error = NanochatError(f"the answer failed: {error!r}", "this is a bug; its trace was printed")
        finally:
            self._over.set()
