"""The tokens of an answer sorted into text, expressions and results, as they come."""

from __future__ import annotations

from collections.abc import Iterator

from nanochat.engine.events import TextDelta, ToolUsed
from nanochat.engine.steps import GenerationStep
from nanochat.tokenizer.conversation import Message, Part, PartKind
from nanochat.tokenizer.special import OUTPUT_START, PYTHON_START
from nanochat.tokenizer.stream import StreamDecoder
from nanochat.tokenizer.tokenizer import Tokenizer


class StopTexts:
    """Finds the first of some texts in a text that arrives in pieces.

    What may be the beginning of one is held back, so that nothing is shown that has to be taken back.

    Attributes:
        found: whether one has come; nothing is let through after it.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """The text that is safe to show after this piece."""
        if self.found or not self._stops:
            return "" if self.found else text
        text = self._held + text
        at = min((place for stop in self._stops if (place := text.find(stop)) >= 0), default=-1)
        if at >= 0:
            self.found, self._held = True, ""
            return text[:at]
        longest = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - longest :]
        return text[: len(text) - longest]

    def finish(self) -> str:
        """What was held back and turned out to be harmless."""
        held, self._held = self._held, ""
        return held


class Answer:
    """Reads steps of one row and keeps the parts of the message that they make.

    Args:
        tokenizer: of the ids.
        stops: texts that end the answer; they are looked for in its text, not in tool calls.
        sample: number that its events carry.

    Attributes:
        parts: the finished parts.
    """

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...] = (), sample: int = 0) -> None:
        self.tokenizer = tokenizer
        self.sample = sample
        self.parts: list[Part] = []
        self._stops = StopTexts(stops)
        self._decoder = StreamDecoder(tokenizer)
        self._specials = {tokenizer.special(name) for name in tokenizer.special_tokens}
        self._openers: dict[int, PartKind] = {
            tokenizer.special(PYTHON_START): "python",
            tokenizer.special(OUTPUT_START): "output",
        }
        self._kind: PartKind = "text"
        self._piece = ""  # of a text part in progress
        self._inside: list[int] = []  # tokens of a tool part in progress

    @property
    def stopped(self) -> bool:
        """Whether a stop text has come."""
        return self._stops.found

    @property
    def text(self) -> str:
        """The finished text parts, one after the other."""
        return "".join(part.text for part in self.parts if part.kind == "text")

    def take(self, step: GenerationStep) -> Iterator[TextDelta | ToolUsed]:
        """Events of one token."""
        token, call = step.token, step.call
        if token in self._specials:
            yield from self._turn_to(self._openers.get(token, "text"))
        elif self._kind == "text":
            yield from self._say(self._stops.push(self._decoder.push(token)))
        else:
            self._inside.append(token)
        if call:
            yield ToolUsed(call.expression, call.result, call.latency_s, self.sample)

    def finish(self) -> Iterator[TextDelta | ToolUsed]:
        """Events of what was held back."""
        yield from self._turn_to("text")

    def message(self) -> Message:
        """The answer as far as it has come."""
        for _ in self.finish():  # those events come too late for anyone
            pass
        return Message("assistant", tuple(self.parts) or (Part("text", ""),))

    def _say(self, text: str) -> Iterator[TextDelta]:
        if text:
            self._piece += text
            yield TextDelta(text, self.sample)

    def _turn_to(self, kind: PartKind) -> Iterator[TextDelta]:
        """Close the part in progress and open one of another kind."""
        if self._kind == "text":
            yield from self._say(self._stops.push(self._decoder.finish()) + self._stops.finish())
            if self._piece:
                self.parts.append(Part("text", self._piece))
        elif self._inside:
            self.parts.append(Part(self._kind, self.tokenizer.decode(self._inside)))
        self._kind, self._piece, self._inside = kind, "", []


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`, fewer than all of it."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
