"""The colours of text on the screen, as the theme has them, in the form that Rich draws with."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.style import Style
from rich.theme import Theme
from textual.widget import Widget

COMPONENTS = ("heading", "strong", "inline", "code", "quote", "bullet", "dim", "tool", "good", "bad", "person")


@dataclass(frozen=True, eq=False)
class Styles:
    """What text is drawn with.

    Attributes:
        console: knows the styles of Markdown by name; its width is given with each drawing.
        named: the styles of `COMPONENTS`.
        code_theme: of Pygments: sixteen colours, which the theme of the screen turns into its own.
    """

    console: Console
    named: dict[str, Style]
    code_theme: str

    def __getitem__(self, name: str) -> Style:
        """A style by its name."""
        return self.named[name]


def styles_of(widget: Widget, prefix: str) -> Styles:
    """The styles of the component classes `{prefix}--{name}` of a widget."""
    full = {name: widget.get_component_rich_style(f"{prefix}--{name}") for name in COMPONENTS}
    ink = {name: style if name == "code" else _ink(style) for name, style in full.items()}
    heading, code, quote, bullet, dim = (ink[name] for name in ("heading", "inline", "quote", "bullet", "dim"))
    plain = Style()
    theme = {
        **{f"markdown.h{level}": heading for level in range(1, 7)},
        "markdown.code": code,
        "markdown.code_block": code,
        "markdown.block_quote": quote,
        "markdown.item.bullet": bullet,
        "markdown.item.number": bullet,
        "markdown.hr": dim,
        "markdown.paragraph": plain,
        "markdown.strong": ink["strong"],
        "markdown.table.border": dim,
        "markdown.table.header": heading,
    }
    console = Console(color_system="truecolor", force_terminal=True, theme=Theme(theme), legacy_windows=False, width=80)
    return Styles(console, ink, "ansi_dark" if widget.app.current_theme.dark else "ansi_light")


def _ink(style: Style) -> Style:
    """Without what is behind it, which is the widget's."""
    return Style(
        color=style.color, bold=style.bold, italic=style.italic, underline=style.underline, dim=style.dim or None
    )
