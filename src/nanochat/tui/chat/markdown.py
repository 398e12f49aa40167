"""Blocks of Markdown as lines, drawn by Rich with our styles. Imported when the first of them is to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from markdown_it.token import Token
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Heading, HorizontalRule, Markdown, MarkdownElement
from rich.rule import Rule
from textual.strip import Strip

from nanochat.tui.chat.styles import Styles


class _Heading(Heading):
    """At the left; its level is seen as it was written."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        text = self.text.copy()
        text.justify = "left"
        yield text


class _Line(HorizontalRule):
    """A line across the text, with nothing below it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Rule(style="markdown.hr", characters="─")


class _Blocks(Markdown):
    """Markdown that was parsed already."""

    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "hr": _Line,
    }

    def __init__(self, tokens: Sequence[Token], code_theme: str) -> None:
        super().__init__("", code_theme=code_theme, hyperlinks=False)
        self.parsed = list(tokens)

    def _flatten_tokens(self, tokens: Iterable[Token]) -> Iterable[Token]:
        for token in super()._flatten_tokens(tokens):
            if token.type == "softbreak":  # what a model writes on two lines is shown on two lines
                token.type = "hardbreak"
            yield token


def draw(tokens: Sequence[Token], width: int, styles: Styles) -> list[Strip]:
    """The lines of some blocks."""
    console = styles.console
    options = console.options.update(width=max(4, width), height=None)
    lines = console.render_lines(_Blocks(tokens, styles.code_theme), options, pad=False)
    strips = [_trimmed(Strip(line), width) for line in lines]
    texts = [bool(strip.text) for strip in strips]
    if not any(texts):
        return []
    return strips[texts.index(True) : len(texts) - texts[::-1].index(True)]


def _trimmed(strip: Strip, width: int) -> Strip:
    """Without the spaces at its end, which would be copied too."""
    spare = len(strip.text) - len(strip.text.rstrip())
    return strip.crop(0, min(width, strip.cell_length - spare))
