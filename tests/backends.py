"""A `ChatBackend` without a process: an engine of this one, for tests of what stands in front of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from nanochat.config.chat import TOOLS, ToolName
from nanochat.engine.answering import answer, count, examine
from nanochat.engine.backend import ContextUse, Examination, Loaded, Question
from nanochat.engine.engine import Engine
from nanochat.engine.events import SessionEvent
from nanochat.engine.load import pick_tool
from nanochat.errors import MissingError
from nanochat.tokenizer.conversation import Message


class EngineReply:
    def __init__(self, engine: Engine, question: Question, known: dict[Message, tuple[int, ...]]) -> None:
        self._stop = threading.Event()
        self._events = answer(engine, question, self._stop, known)

    def __iter__(self) -> Iterator[SessionEvent]:
        return self._events

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._events.close()  # type: ignore[attr-defined]


class EngineBackend:
    """Answers at once; `switch` knows the names it was given.

    Attributes:
        asked: every question.
        closed: whether it was let go.
    """

    local = True

    def __init__(self, engine: Engine, name: str = "tiny:sft@7", others: tuple[str, ...] = ()) -> None:
        self.engine = engine
        self.name = name
        self.asked: list[Question] = []
        self.closed = False
        self._others = others
        self._known: dict[Message, tuple[int, ...]] = {}

    @property
    def tool(self) -> ToolName:
        return next(name for name in TOOLS if pick_tool(name) is self.engine.tool)

    def use_tool(self, tool: ToolName) -> None:
        self.engine.tool = pick_tool(tool)

    def start(self) -> None: ...

    def wait(self, timeout_s: float | None = None) -> Loaded | None:
        return Loaded(self.name, "cpu", "float32", self.engine.context)

    def ask(self, question: Question) -> EngineReply:
        self.asked.append(question)
        return EngineReply(self.engine, question, self._known)

    def count(self, messages: tuple[Message, ...], timeout_s: float | None = None) -> ContextUse:
        return count(self.engine, messages)

    def examine(
        self, text: str, messages: tuple[Message, ...] = (), top: int = 0, timeout_s: float | None = None
    ) -> Examination:
        return examine(self.engine, text, messages, top)

    def models(self) -> tuple[str, ...]:
        return (*self._others, self.name)

    def switch(self, model: str) -> None:
        if model not in self._others:
            raise MissingError(f"there is no model {model!r}", "nanochat models list")
        self.name = model

    def close(self) -> None:
        self.closed = True
