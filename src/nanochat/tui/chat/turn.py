"""One message on the screen: who says it, what, and what is known of it. It draws only the lines that are seen."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message as WidgetMessage
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from nanochat.chats.tree import Node
from nanochat.runtime.safe_text import safe_line
from nanochat.tui.chat.cards import Note, Said, ToolCard, latency
from nanochat.tui.chat.prose import Prose, strip_of
from nanochat.tui.chat.registry import keys_in
from nanochat.tui.chat.styles import COMPONENTS, Styles, styles_of

Item = Prose | ToolCard | Note | Said
_REASONS = {
    "stop": "",
    "length": "reached max tokens",
    "context": "the context is full",
    "cancelled": "stopped",
    "broken": "broke off",
}


class Turn(Widget, can_focus=True):
    """A message.

    Args:
        node: what is kept of it.
        place: which of its siblings it is, and how many there are.
        plain: whether it is text to go on with, not a message of a conversation.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"turn--{name}" for name in COMPONENTS}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(key.keys, f"app.{key.does}", key.help, show=False, id=key.id) for key in keys_in("message")
    ]
    ALLOW_SELECT = True

    @dataclass
    class Folded(WidgetMessage):
        """Somebody clicked at the call of a tool."""

    def __init__(self, node: Node, place: tuple[int, int] = (1, 1), *, plain: bool = False) -> None:
        super().__init__(classes=node.message.role)
        self.node = node
        self.place = place
        self.plain = plain
        self.running = False
        self.items: list[Item] = []
        self._known: Styles | None = None
        self._parts: list[list[Strip]] = []
        self._starts: list[int] = []
        self._height = 0
        self._look: tuple[int, Styles] | None = None
        self.fill()

    # what it says

    def fill(self) -> None:
        """Take what it says from its node."""
        self.items = list(_items(self.node, self.plain))
        self.changed()

    def prose(self) -> Prose:
        """The prose at its end, begun where there is none."""
        if not self.items or not isinstance(self.items[-1], Prose):
            self.items.append(Prose())
        last = self.items[-1]
        assert isinstance(last, Prose)
        return last

    def use_tool(self, card: ToolCard) -> None:
        """A tool was called."""
        if self.items and isinstance(self.items[-1], Prose):
            self.items[-1].finish()
        self.items.append(card)

    def end(self, node: Node) -> None:
        """It is whole: its node has its figures."""
        self.running, self.node = False, node
        for item in self.items:
            if isinstance(item, Prose):
                item.finish()
        self.changed()

    def fold(self, opened: bool | None = None) -> bool:
        """Open or fold its calls of tools; whether it has any."""
        cards = [item for item in self.items if isinstance(item, ToolCard)]
        for card in cards:
            card.open = not cards[0].open if opened is None and card is cards[0] else card.open
        for card in cards:
            card.open = cards[0].open if opened is None else opened
        self.changed()
        return bool(cards)

    def changed(self) -> None:
        """Something of it is other than before: measure and draw it anew."""
        self._look = None
        if self.is_attached:
            self.refresh(layout=True)

    # how it is drawn

    @property
    def text(self) -> str:
        """What stands on the screen, without the lines about it."""
        return "\n".join(item.text for item in self.items if isinstance(item, Prose | Said))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as it has at this width."""
        self._arrange(width)
        return self._height

    def render_line(self, y: int) -> Strip:
        """One line, with what is selected in it."""
        width = self.size.width
        self._arrange(width)
        base = self.rich_style
        if not 0 <= y < self._height:
            return Strip.blank(width, base)
        part = bisect_right(self._starts, y) - 1
        strip = self._parts[part][y - self._starts[part]]
        selection = self.text_selection
        span = selection.get_span(y) if selection is not None else None
        if span is not None:
            strip = _selected(strip, span, self.screen.get_component_rich_style("screen--selection"))
        return strip.apply_offsets(0, y).apply_style(base).adjust_cell_length(width, base)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        """The lines that are selected, as they stand on the screen."""
        text = "\n".join(strip.text.rstrip() for part in self._parts for strip in part)
        return selection.extract(text), "\n"

    def notify_style_update(self) -> None:
        """Other colours."""
        super().notify_style_update()
        self._known = self._look = None

    def on_click(self, event: events.Click) -> None:
        """A click at the call of a tool opens or folds it."""
        offset = event.get_content_offset(self)
        if offset is None or not 0 <= offset.y < self._height:
            return
        part = bisect_right(self._starts, offset.y) - 1
        item = self.items[part - 1] if 0 < part <= len(self.items) and self._parts[part] else None
        if isinstance(item, ToolCard):
            item.open = not item.open
            self.changed()

    def _styles(self) -> Styles:
        if self._known is None:
            self._known = styles_of(self, "turn")
        return self._known

    def _arrange(self, width: int) -> None:
        """Lay out the lines; what is drawn already is not drawn again."""
        styles = self._styles()
        if self._look == (width, styles):
            return
        parts = [[strip_of(self._head(styles, width), styles)]]
        for at, item in enumerate(self.items):
            lines = item.lines(width, styles)
            apart = at and not (isinstance(item, ToolCard) and isinstance(self.items[at - 1], ToolCard))
            parts.append([Strip([]), *lines] if apart and lines else lines)
        foot = self._foot(styles)
        parts.append([strip_of(line, styles) for line in foot.wrap(styles.console, max(1, width))] if foot else [])
        self._parts, self._starts, self._height = parts, [], 0
        for part in parts:
            self._starts.append(self._height)
            self._height += len(part)
        self._look = (width, styles)

    def _head(self, styles: Styles, width: int) -> Text:
        person = self.node.message.role == "user"
        name = ("Text" if self.plain else "You") if person else safe_line(self.node.model) or "Model"
        head = Text(name, styles["person" if person else "heading"])
        at, count = self.place
        if count > 1:
            head.append(f"  [ {at} of {count} ]", styles["bullet"])
        if self.node.rating:
            head.append(
                "  + good" if self.node.rating > 0 else "  - bad", styles["good" if self.node.rating > 0 else "bad"]
            )
        if self.running:
            head.append("  answering…", styles["dim"])
        head.truncate(max(1, width), overflow="ellipsis")
        return head

    def _foot(self, styles: Styles) -> Text | None:
        if self.running or self.node.message.role != "assistant" or (self.node.id < 0 and not self.node.figures):
            return None
        said = figures_line(self.node.figures)
        return Text(said, styles["dim"])


def figures_line(figures: dict[str, Any]) -> str:
    """`42 tokens · 31 tok/s · first after 0.3 s · stopped`."""
    parts = []
    if tokens := figures.get("tokens"):
        parts.append(f"{tokens:,} token{'s' if tokens > 1 else ''}")
    if speed := figures.get("tokens_per_s"):
        parts.append(f"{speed:,.0f} tok/s" if speed >= 9.95 else f"{speed:.1f} tok/s")
    if first := figures.get("time_to_first_token_s"):
        parts.append(f"first after {latency(first)}")
    reason = str(figures.get("stop_reason", "broken"))
    parts.append(_REASONS.get(reason, safe_line(reason)))
    return " · ".join(part for part in parts if part)


def _items(node: Node, plain: bool) -> Iterable[Item]:
    """The parts of a message that is kept."""
    if node.message.role != "assistant" or plain:
        yield Said(node.message.content)
        return
    expression: str | None = None
    for part in node.message.parts:
        if part.kind == "python":
            expression = part.text
        elif part.kind == "output":
            yield ToolCard(expression or "", part.text)
            expression = None
        elif part.text:
            yield Prose(part.text)
    if expression is not None:
        yield ToolCard(expression, None)


def _selected(strip: Strip, span: tuple[int, int], style: Any) -> Strip:
    """A line with a part of it, in characters, marked."""
    start, end = span
    text = strip.text
    first = cell_len(text[:start])
    last = cell_len(text if end < 0 else text[:end])
    if last <= first:
        return strip
    before, middle, after = strip.crop(0, first), strip.crop(first, last), strip.crop(last)
    marked = Strip([segment._replace(style=(segment.style or style) + style) for segment in middle])
    return Strip.join([before, marked, after])
