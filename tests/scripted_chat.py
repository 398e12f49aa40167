"""A model for tests of the chat's screen: it says what it was told to, as fast as it is let, and can be killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from nanochat.config.chat import ToolName
from nanochat.engine.backend import ContextUse, Examination, Loaded, Question
from nanochat.engine.events import Candidate, SessionEvent, TextDelta, Token, Tokens, ToolUsed, TurnFinished
from nanochat.engine.link import WorkerDied
from nanochat.errors import MissingError, NanochatError, UsageError
from nanochat.tokenizer.conversation import Message, Part

PLACE = "tiny:sft@20"


class ScriptedReply:
    """An answer that waits for `backend.go` before each piece where it is held."""

    def __init__(self, backend: ScriptedBackend, question: Question, said: Sequence[object]) -> None:
        self.backend = backend
        self.question = question
        self.said = said
        self._stopped = threading.Event()

    def __iter__(self) -> Iterator[SessionEvent]:
        for sample in range(self.question.samples):
            yield from self._one(sample)

    def _one(self, sample: int) -> Iterator[SessionEvent]:
        text, parts, reason = "", [], "stop"
        for piece in self.said:
            while not self.backend.free.wait(0.005):
                if self._stopped.is_set():
                    break
            if self._stopped.is_set():
                reason = "cancelled"
                break
            if isinstance(piece, NanochatError):
                raise piece
            if isinstance(piece, tuple):
                expression, result = piece
                parts += [Part("python", expression), Part("output", result)]
                yield ToolUsed(expression, result, 0.002, sample)
            elif isinstance(piece, str):
                piece = piece.replace("{sample}", str(sample + 1))
                text += piece
                parts.append(Part("text", piece))
                yield TextDelta(piece, sample)
                if self.question.tokens:
                    yield Tokens((token(piece),), sample)
            else:
                yield piece  # an event, as it stands
        message = Message("assistant", _joined(parts))
        yield TurnFinished(text, max(1, len(parts)), 50.0, reason, 0.1, 12, message, (), sample)  # type: ignore[arg-type]

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self._stopped.set()


@dataclass
class ScriptedBackend:
    """`ChatBackend` without a model.

    Attributes:
        answers: pieces of one answer after the other, the last one repeated: texts, (expression, result) of a tool,
            an error to raise, or any event.
        free: cleared, nothing more is said until it is set again.
        asked: the questions.
    """

    answers: list[Sequence[object]] = field(default_factory=lambda: [["Hello"]])
    place: str = PLACE
    names: tuple[str, ...] = ("tiny:base@10", "tiny:base@20", "tiny:sft@10", PLACE)
    local: bool = True
    loading: bool = False
    limit: int = 256
    free: threading.Event = field(default_factory=threading.Event)
    asked: list[Question] = field(default_factory=list)
    closed: bool = False
    trouble: NanochatError | None = None
    on_switch: Callable[[str], None] | None = None
    tool: ToolName | None = "calculator"

    def __post_init__(self) -> None:
        self.tool = self.tool if self.local else None
        self.free.set()

    @property
    def name(self) -> str:
        return self.place

    def start(self) -> None:
        if self.trouble:
            raise self.trouble

    def wait(self, timeout_s: float | None = None) -> Loaded | None:
        return None if self.loading else Loaded(self.place, "cpu", "float32", self.limit, ())

    def ask(self, question: Question) -> ScriptedReply:
        self.asked.append(question)
        return ScriptedReply(self, question, self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])

    def count(self, messages: tuple[Message, ...], timeout_s: float | None = None) -> ContextUse:
        used = sum(len(message.content) for message in messages)
        return ContextUse(min(used, self.limit), self.limit, max(0, used - self.limit) // 50)

    def examine(
        self, text: str, messages: tuple[Message, ...] = (), top: int = 0, timeout_s: float | None = None
    ) -> Examination:
        words = [word if at == 0 else " " + word for at, word in enumerate(text.split(" "))]
        return Examination(tuple(token(word, at, top) for at, word in enumerate(words)))

    def models(self) -> tuple[str, ...]:
        return self.names

    def switch(self, model: str) -> None:
        if model not in self.names:
            raise MissingError(f"there is no {model}", "nanochat models list")
        self.place = model

    def use_tool(self, tool: ToolName) -> None:
        if self.tool is None:
            raise UsageError("another server's model calls no tools of this chat", "leave out --url")
        self.tool = tool

    def close(self) -> None:
        self.closed = True
        self.free.set()


def token(text: str, at: int = 0, top: int = 0) -> Token:
    """A token that is less likely the further on it stands, with alternatives."""
    others = tuple(Candidate(1000 + other, f" other{other}".encode(), -1.0 - other) for other in range(top))
    return Token(at, text.encode(), -0.3 * at, top=others)


def killed() -> WorkerDied:
    """What a model says whose process was killed."""
    return WorkerDied("the process of the model ended (signal 9)", "ask again: it is started anew")


def _joined(parts: Sequence[Part]) -> tuple[Part, ...]:
    made: list[Part] = []
    for part in parts:
        if made and made[-1].kind == part.kind == "text":
            made[-1] = Part("text", made[-1].text + part.text)
        else:
            made.append(part)
    return tuple(made) or (Part("text", ""),)


def collected(made: list[ScriptedBackend]) -> Callable[[str], ScriptedBackend]:
    """What opens further models, each of which says "said", and puts them into a list."""

    def another(name: str) -> ScriptedBackend:
        made.append(ScriptedBackend([["said"]], place=name))
        return made[-1]

    return another
