"""The conversation on the screen: the branch one stands on. It follows its end until somebody scrolls."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from nanochat.chats.tree import Node
from nanochat.tui.chat.talk import Talk
from nanochat.tui.chat.turn import Turn

SHOWN = 60  # messages; earlier ones come when asked for


class Transcript(VerticalScroll, can_focus=False):
    """The messages."""

    def __init__(self, welcome: Text, *, id: str) -> None:
        super().__init__(id=id)
        self.welcome = welcome
        self._all = False
        self._hidden = 0  # messages before the first that is shown

    def compose(self) -> ComposeResult:
        """Begins with nothing said."""
        yield self._welcome()

    def on_mount(self) -> None:
        """Follows its end from the first."""
        self.anchor()

    @property
    def turns(self) -> list[Turn]:
        """The messages that are shown, oldest first."""
        return list(self.query(Turn))

    def turn_of(self, node: Node | None) -> Turn | None:
        """The message of a node, if it is shown."""
        return next((turn for turn in self.turns if node is not None and turn.node.id == node.id), None)

    async def show(self, talk: Talk, focus: Node | None = None) -> None:
        """The branch one stands on, in place of what was there."""
        path = talk.path
        self._hidden = hidden = 0 if self._all else max(0, len(path) - SHOWN)
        await self.remove_children()
        if not path:
            await self.mount(self._welcome())
        if hidden:
            await self.mount(Static(Text(f"{hidden} earlier messages; a click shows them", "dim"), id="earlier"))
        await self.mount_all(self.turn(talk, node) for node in path[hidden:])
        self.anchor()
        turn = self.turn_of(focus)
        if turn is not None:
            turn.focus()
            self.scroll_to_widget(turn, animate=False)

    def turn(self, talk: Talk, node: Node) -> Turn:
        """A message with its place among its siblings."""
        siblings = [each.id for each in talk.tree.siblings(node)]
        place = (siblings.index(node.id) + 1, len(siblings)) if node.id in siblings else (1, 1)
        return Turn(node, place, plain=talk.kind == "plain")

    async def add(self, turn: Turn) -> None:
        """One more message, at the end."""
        for note in self.query("#welcome"):
            await note.remove()
        await self.mount(turn)

    def place(self, talk: Talk) -> None:
        """Siblings have come: number them anew."""
        for turn in self.turns:
            fresh = self.turn(talk, talk.tree.nodes.get(turn.node.id, turn.node))
            if (fresh.place, fresh.node.rating) != (turn.place, turn.node.rating):
                turn.place, turn.node = fresh.place, fresh.node
                turn.changed()

    def forget(self, turns: int) -> None:
        """So many of the oldest turns (a question and its answer) are no longer sent: they are dimmed."""
        for at, turn in enumerate(self.turns, self._hidden):
            turn.set_class(at < 2 * turns, "forgotten")

    def _welcome(self) -> Static:
        return Static(self.welcome, id="welcome")

    async def show_all(self, talk: Talk) -> None:
        """Earlier messages too."""
        self._all = True
        await self.show(talk)
