"""Answers beside each other: each in a pane of its own, which takes its events and stays outside of the store."""

from __future__ import annotations

from collections.abc import Iterable

from textual.app import ComposeResult
from textual.containers import VerticalScroll

from nanochat.chats.tree import Node
from nanochat.engine.events import SessionEvent, TextDelta, ToolUsed, TurnFinished
from nanochat.errors import NanochatError
from nanochat.runtime.safe_text import safe_line
from nanochat.tokenizer.conversation import Message
from nanochat.tui.chat.cards import Note, ToolCard
from nanochat.tui.chat.talk import figures_of
from nanochat.tui.chat.turn import Turn

NO_NODE = -2


class Pane(VerticalScroll, can_focus=True):
    """One answer.

    Args:
        title: who gives it.
        plain: whether it is text that goes on.
    """

    def __init__(self, title: str, *, plain: bool) -> None:
        super().__init__(classes="pane")
        self.plain = plain
        self.end: TurnFinished | None = None
        self.turn = _empty(title, plain)

    def compose(self) -> ComposeResult:
        """The answer."""
        yield self.turn

    def restart(self, title: str) -> None:
        """Another answer, in place of this one."""
        self.end = None
        fresh = _empty(title, self.plain)
        self.turn.node, self.turn.running, self.turn.items = fresh.node, True, []
        self.turn.changed()

    def take(self, events: Iterable[SessionEvent]) -> None:
        """What has come."""
        news = False
        for event in events:
            news = True
            if isinstance(event, TextDelta):
                self.turn.prose().push(event.text)
            elif isinstance(event, ToolUsed):
                self.turn.use_tool(ToolCard(event.expression, event.result, event.latency_s))
            elif isinstance(event, TurnFinished):
                self.end = event
                self.turn.end(
                    Node(
                        id=NO_NODE,
                        parent=None,
                        message=event.message,
                        model=self.turn.node.model,
                        figures=figures_of(event),
                    )
                )
        if news:
            at_end = self.scroll_y >= self.max_scroll_y
            self.turn.changed()
            if at_end:
                self.scroll_end(animate=False)

    def fail(self, error: NanochatError) -> None:
        """There will be no answer."""
        self.turn.running = False
        self.turn.items.append(Note(f"{safe_line(error.message)}\n{safe_line(error.hint)}", "bad"))
        self.turn.changed()


def _empty(title: str, plain: bool) -> Turn:
    node = Node(id=NO_NODE, parent=None, message=Message.text("assistant", ""), model=title)
    turn = Turn(node, plain=plain)
    turn.can_focus = False
    turn.running = True
    turn.items = []
    return turn
