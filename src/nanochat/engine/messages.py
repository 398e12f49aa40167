"""What front-end and worker say to each other over their pipe. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nanochat.config.chat import ToolName
from nanochat.engine.backend import ContextUse, Examination, Loaded, Question
from nanochat.engine.events import SessionEvent
from nanochat.runtime.paths import Paths
from nanochat.tokenizer.conversation import Message


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """Which model to load, and how.

    Attributes:
        paths: where models are.
        selector: `d12:sft@650`; None is the newest.
        rows: answers at the same time; None is as many as memory allows.
        threads: CPU threads; 0 uses every core.
        tool: what the model may call.
        log: file for what the process writes, where a terminal is no place for it; None leaves stderr as it is.
    """

    paths: Paths
    selector: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    rows: int | None = None
    threads: int = 0
    tool: ToolName = "calculator"
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """Load this, in place of what was loaded before; `number` tells orders apart."""

    number: int
    order: Order


@dataclass(frozen=True, slots=True)
class UseTool:
    """What the model may call from the next answer on."""

    tool: ToolName


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer a question."""

    number: int
    question: Question


@dataclass(frozen=True, slots=True)
class Count:
    """Tell how much of the context a conversation takes."""

    number: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Examine:
    """Tell how likely a text is; see `nanochat.engine.backend.ChatBackend.examine`."""

    number: int
    text: str
    messages: tuple[Message, ...]
    top: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody wants the rest of what was asked for."""

    number: int


Wanted = Ask | Count | Examine
ToWorker = Load | UseTool | Wanted | Stop


@dataclass(frozen=True, slots=True)
class Ready:
    """An order has been loaded."""

    number: int
    loaded: Loaded


@dataclass(frozen=True, slots=True)
class Said:
    """An event of an answer."""

    number: int
    event: SessionEvent


@dataclass(frozen=True, slots=True)
class Ended:
    """What was asked for is complete; `result` is what it was, unless that has been told as events."""

    number: int
    result: ContextUse | Examination | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """An error, by the name of its class; of one thing that was asked for, or of everything where `number` is None."""

    number: int | None
    kind: str
    message: str
    hint: str


FromWorker = Ready | Said | Ended | Failed
