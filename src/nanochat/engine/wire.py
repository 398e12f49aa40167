"""Questions and answers as OpenAI-compatible servers write them. Light: JSON values in, JSON values out.

What a server leaves out is done without; what is no such JSON counts as left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from nanochat.config.chat import SamplingConfig
from nanochat.engine.backend import Question
from nanochat.engine.events import Candidate, SessionEvent, TextDelta, Token, Tokens, TurnFinished
from nanochat.engine.steps import StopReason
from nanochat.tokenizer.conversation import Message

MAX_TOP_LOGPROBS = 20  # the most that such servers take


class SampleChunks:
    """One answer as it comes."""

    def __init__(self, number: int, began: float) -> None:
        self.number = number
        self.finished = False
        self._began = began
        self._first_at = 0.0
        self._text = ""
        self._pieces = 0  # what counts as tokens where the server does not say
        self._chunks = 0
        self._usage: Mapping[str, Any] = {}
        self._reason: StopReason | None = None

    def take(self, chunk: Mapping[str, Any]) -> Iterator[SessionEvent]:
        """The events of one object."""
        if isinstance(chunk.get("usage"), dict):
            self._usage = chunk["usage"]
        choices = chunk.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            return
        choice = choices[0]
        said = choice.get("delta") or choice.get("message") or choice
        text = said.get("content", said.get("text")) if isinstance(said, dict) else None
        tokens = tuple(_tokens(choice.get("logprobs")))
        if text or tokens:
            self._first_at = self._first_at or time.perf_counter()
            self._pieces += len(tokens) or 1
            self._chunks += 1
        if tokens:
            yield Tokens(tokens, self.number)
        if isinstance(text, str) and text:
            text = _unicode(text)
            self._text += text
            yield TextDelta(text, self.number)
        if reason := choice.get("finish_reason"):
            self._reason = "length" if reason == "length" else "stop"

    def end(self, otherwise: StopReason) -> TurnFinished:
        """The last event; `otherwise` is why it ended if the server has not said."""
        self.finished = True
        now = time.perf_counter()
        first_at = self._first_at or now
        tokens = _whole(self._usage.get("completion_tokens")) or self._pieces
        if self._chunks == 1 and otherwise != "cancelled":  # as a whole: nobody knows when its first token was there
            speed = tokens / (now - self._began)
        else:
            speed = (tokens - 1) / (now - first_at) if tokens > 1 and now > first_at else 0.0
        return TurnFinished(
            text=self._text,
            tokens=tokens,
            tokens_per_s=speed,
            stop_reason=self._reason or otherwise,
            time_to_first_token_s=first_at - self._began if self._first_at else 0.0,
            prompt_tokens=_whole(self._usage.get("prompt_tokens")),
            message=Message.text("assistant", self._text),
            sample=self.number,
        )


def request_body(model: str, question: Question, sample: int) -> dict[str, Any]:
    """The request for one answer. Settings that only some servers know are sent where they were changed."""
    config, usual = question.config, SamplingConfig()
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": config.temperature,
        "max_tokens": config.max_new_tokens,
    }
    for name in ("top_k", "top_p", "min_p", "repetition_penalty"):
        if getattr(config, name) != getattr(usual, name):
            value = getattr(config, name)
            body[name] = -1 if name == "top_k" and value is None else value
    if config.seed is not None:
        body["seed"] = (config.seed + sample) % 2**63
    if config.stop:
        body["stop"] = list(config.stop)
    top = min(config.top_logprobs, MAX_TOP_LOGPROBS)
    if question.messages:
        body["messages"] = [{"role": message.role, "content": _said(message)} for message in question.messages]
        if question.tokens:
            body |= {"logprobs": True, "top_logprobs": top}
    else:
        body["prompt"] = _unicode(question.text or "")
        if question.tokens:
            body["logprobs"] = top
    return body


def _said(message: Message) -> str:
    """What was said, without calls of a tool that is not there."""
    return _unicode("".join(part.text for part in message.parts if part.kind == "text"))


def _unicode(text: str) -> str:
    """The text with U+FFFD for halves of characters, which JSON can name and nothing else can hold."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _tokens(logprobs: Any) -> Iterator[Token]:
    """The tokens in the log-probabilities of a choice, in the form of either kind of request."""
    if not isinstance(logprobs, dict):
        return
    if isinstance(logprobs.get("content"), list):
        for entry in logprobs["content"]:
            if isinstance(entry, dict):
                top = entry.get("top_logprobs")
                others = [other for other in top if isinstance(other, dict)] if isinstance(top, list) else []
                yield Token(None, _data(entry), _number(entry.get("logprob")), top=tuple(map(_candidate, others)))
    elif isinstance(logprobs.get("tokens"), list):
        values, tops = logprobs.get("token_logprobs") or [], logprobs.get("top_logprobs") or []
        for place, token in enumerate(logprobs["tokens"]):
            likely = tops[place] if place < len(tops) and isinstance(tops[place], dict) else {}
            top = tuple(
                Candidate(None, name.encode("utf-8", "replace"), _number(value)) for name, value in likely.items()
            )
            logprob = _number(values[place] if place < len(values) else None)
            yield Token(None, str(token).encode("utf-8", "replace"), logprob, top=top)


def _candidate(entry: Mapping[str, Any]) -> Candidate:
    return Candidate(None, _data(entry), _number(entry.get("logprob")))


def _data(entry: Mapping[str, Any]) -> bytes:
    """The bytes of a token; its text where the server gives no bytes."""
    given = entry.get("bytes")
    if isinstance(given, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in given):
        return bytes(given)
    return str(entry.get("token", "")).encode("utf-8", "replace")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and value <= 0 else 0.0


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
