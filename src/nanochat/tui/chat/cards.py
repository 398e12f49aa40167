"""Pieces of an answer that are no prose: the call of a tool, and what the screen has to say about an answer."""

from __future__ import annotations

from rich.text import Text
from textual.strip import Strip

from nanochat.runtime.safe_text import safe_line, safe_text
from nanochat.tui.chat.prose import plain_lines, strip_of
from nanochat.tui.chat.styles import Styles


class ToolCard:
    """A call of a tool: one line, or open with expression, result and how long it took.

    Args:
        expression: what the model asked for.
        result: None where it has none.
        latency_s: None where it is not known, as in conversations of before.
    """

    def __init__(self, expression: str, result: str | None, latency_s: float | None = None) -> None:
        self.expression = expression
        self.result = result
        self.latency_s = latency_s
        self.open = False

    def lines(self, width: int, styles: Styles) -> list[Strip]:
        """What stands on the screen."""
        result = "no result" if self.result is None else self.result
        good = styles["bad" if self.result is None else "good"]
        if not self.open:
            line = Text("▸ tool  ", styles["tool"])
            line.append(safe_line(self.expression), styles["inline"]).append(" = ", styles["dim"])
            line.append(safe_line(result), good)
            if self.latency_s is not None:
                line.append(f"  {latency(self.latency_s)}", styles["dim"])
            line.truncate(max(1, width), overflow="ellipsis")
            return [strip_of(line, styles)]
        made = [strip_of(Text("▾ tool", styles["tool"]), styles)]
        rows = [("expression", self.expression, styles["inline"]), ("result", result, good)]
        if self.latency_s is not None:
            rows.append(("took", latency(self.latency_s), styles["dim"]))
        for name, value, style in rows:
            head = Text(f"  {name:<11}", styles["dim"])
            for at, piece in enumerate(plain_lines(safe_text(value), max(1, width - 13), styles)):
                line = Text(" " * 13) if at else head
                made.append(Strip.join([strip_of(line, styles), piece.apply_style(style)]).crop(0, width))
        return made


class Note:
    """A line about an answer, from the screen itself: why it broke off, what it lacks.

    Args:
        text: our own words; foreign ones in them are safe already.
        style: one of the names of `Styles`.
    """

    def __init__(self, text: str, style: str = "dim") -> None:
        self.text = text
        self.style = style

    def lines(self, width: int, styles: Styles) -> list[Strip]:
        """What stands on the screen."""
        return [strip.apply_style(styles[self.style]) for strip in plain_lines(self.text, width, styles)]


class Said:
    """What a person wrote, as it stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    def lines(self, width: int, styles: Styles) -> list[Strip]:
        """What stands on the screen."""
        return plain_lines(safe_text(self.text), width, styles)


def latency(seconds: float) -> str:
    """2 ms, 1.3 s."""
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.001 else "under 1 ms"
