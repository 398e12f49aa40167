"""What front-end and worker say to each other over their pipe. Light: no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanochat.config.chat import SamplingConfig
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
    """

    paths: Paths
    selector: str | None = None
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    rows: int | None = None
    threads: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """Answer a text that comes after these messages."""

    number: int
    messages: tuple[Message, ...]
    text: str
    config: SamplingConfig


@dataclass(frozen=True, slots=True)
class Stop:
    """Nobody wants the rest of an answer."""

    number: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The model is ready.

    Attributes:
        place: `d12:sft@650`.
        device: where it computes.
        dtype: of its weights.
        context: tokens of prompt and answer together.
        notices: lines a person should read.
    """

    place: str
    device: str
    dtype: str
    context: int
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """An event of an answer."""

    number: int
    event: SessionEvent


@dataclass(frozen=True, slots=True)
class Ended:
    """An answer is over; `messages` are the conversation with it."""

    number: int
    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """An error, by the name of its class; of one answer, or of everything where `number` is None."""

    number: int | None
    kind: str
    message: str
    hint: str
