"""How `nanochat chat` prints answers where there is no screen: text, one JSON object, or an event a line.

Answers go to stdout, everything else to stderr. Text is made harmless first (`runtime.safe_text`); JSON has escapes.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, Protocol

import click

from nanochat.commands.options import emit_json, is_plain

if TYPE_CHECKING:
    from nanochat.engine.events import Candidate, SessionEvent, Token, ToolUsed, TurnFinished


class Printer(Protocol):
    """Shows the events of answers."""

    def show(self, event: SessionEvent) -> None:
        """Print one event, as far as it is printed."""
        ...

    def end_line(self) -> None:
        """Finish a line that has been begun, before something else is printed."""
        ...


class TextPrinter:
    """Answers as text on stdout; for a person, tools on stderr.

    Args:
        stream: print what there is at once, instead of the answer when it is complete.
        raw: print it as the model said it.
    """

    def __init__(self, *, stream: bool = True, raw: bool = False) -> None:
        from nanochat.runtime.safe_text import SafeText

        self._stream = stream
        self._safe = None if raw else SafeText()
        self._waiting = ""
        self._mid_line = False

    def show(self, event: SessionEvent) -> None:
        """Print one event."""
        from nanochat.engine.events import ContextTrimmed, TextDelta, ToolUsed, TurnFinished

        if isinstance(event, TextDelta):
            text = self._safe.push(event.text) if self._safe else event.text
            self._waiting += text
            if self._stream:
                self._write()
        elif isinstance(event, ToolUsed):
            self._tool(event)
        elif isinstance(event, ContextTrimmed):
            self.end_line()
            click.echo(f"notice: the context is full; forgot the oldest turns ({event.turns})", err=True)
        elif isinstance(event, TurnFinished):
            self.end_line()

    def end_line(self) -> None:
        """Print what has waited, and finish its line."""
        self._waiting += self._safe.finish() if self._safe else ""
        self._write()
        if self._mid_line:
            click.echo()
        self._mid_line = False

    def _write(self) -> None:
        text, self._waiting = self._waiting, ""
        if text:
            click.echo(text, nl=False)
            sys.stdout.flush()
            self._mid_line = not text.endswith("\n")

    def _tool(self, tool: ToolUsed) -> None:
        """A dim line in between, for a person at a terminal only."""
        from nanochat.console.words import safe

        if not sys.stderr.isatty():
            return
        if self._mid_line and sys.stdout.isatty():
            click.echo(err=True)
            self._mid_line = False
        result = "nothing" if tool.result is None else tool.result
        line = safe(f"[tool: {tool.expression} = {result}]")
        click.echo(line if is_plain(sys.stderr, os.environ) else click.style(line, dim=True), err=True)


class JsonPrinter:
    """One object an answer, when it is complete."""

    def __init__(self) -> None:
        self._begin()

    def show(self, event: SessionEvent) -> None:
        """Note one event; print the object with the last."""
        from nanochat.engine.events import ContextTrimmed, Tokens, ToolUsed, TurnFinished

        if isinstance(event, ContextTrimmed):
            self._forgotten = event.turns
        elif isinstance(event, ToolUsed):
            self._tools.append(_tool(event))
        elif isinstance(event, Tokens):
            self._tokens += map(_token, event.tokens)
        elif isinstance(event, TurnFinished):
            value = {**_finished(event), "tools": self._tools, "forgotten_turns": self._forgotten}
            emit_json({**value, "logprobs": self._tokens} if self._tokens else value)
            sys.stdout.flush()
            self._begin()

    def end_line(self) -> None:
        """Nothing is ever half printed; what was stopped gives no object."""
        self._begin()

    def _begin(self) -> None:
        self._tools: list[dict[str, Any]] = []
        self._tokens: list[dict[str, Any]] = []
        self._forgotten = 0


class JsonLinesPrinter:
    """Every event as an object on a line of its own, as it comes."""

    def show(self, event: SessionEvent) -> None:
        """Print one event."""
        from nanochat.engine.events import ContextTrimmed, TextDelta, Tokens, ToolUsed

        line: dict[str, Any]
        if isinstance(event, TextDelta):
            line = {"event": "text", "text": event.text}
        elif isinstance(event, Tokens):
            line = {"event": "tokens", "tokens": [_token(token) for token in event.tokens]}
        elif isinstance(event, ToolUsed):
            line = {"event": "tool", **_tool(event)}
        elif isinstance(event, ContextTrimmed):
            line = {"event": "trimmed", "turns": event.turns}
        else:
            line = {"event": "finished", **_finished(event)}
        click.echo(json.dumps(line))
        sys.stdout.flush()

    def end_line(self) -> None:
        """Nothing is ever half printed."""


def _tool(event: ToolUsed) -> dict[str, Any]:
    return {"expression": event.expression, "result": event.result, "latency_s": event.latency_s}


def _finished(event: TurnFinished) -> dict[str, Any]:
    return {
        "text": event.text,
        "message": event.message.to_dict(),
        "stop_reason": event.stop_reason,
        "tokens": event.tokens,
        "prompt_tokens": event.prompt_tokens,
        "tokens_per_s": event.tokens_per_s,
        "time_to_first_token_s": event.time_to_first_token_s,
        "ids": list(event.ids),
    }


def _token(token: Token) -> dict[str, Any]:
    more = {"forced": token.forced, "special": token.special, "top": [_candidate(other) for other in token.top]}
    return {**_candidate(token), **more}


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "id": candidate.id,
        "text": candidate.data.decode("utf-8", "replace"),
        "bytes": list(candidate.data),
        "logprob": candidate.logprob,
    }
