"""The same question side by side: to several models, or to checkpoints of one, also of a run that is being trained.

Each pane has a model in a process of its own. `[` and `]` move a pane along the checkpoints there are, and a pane that
follows its run moves to each new one by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Static

from nanochat.engine.backend import ChatBackend, Question
from nanochat.errors import NanochatError
from nanochat.tokenizer.conversation import Message
from nanochat.tui.chat.asking import Asking
from nanochat.tui.chat.panes import Pane
from nanochat.tui.chat.talk import figures_of

MOST = 4
TICK_S = 0.05
FOLLOW_S = 3.0

Answer = tuple[Message, dict[str, Any], str]


class Compare(ModalScreen[Answer | None]):
    """Panes side by side. Answers with the one that is to be kept, its figures and its model; or None.

    Args:
        another: makes a backend for a model.
        models: those to begin with.
        known: all there are, in the order of training.
        question: what each is asked.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "Back"),
        Binding("left_square_bracket", "move(-1)", "Earlier", key_display="["),
        Binding("right_square_bracket", "move(1)", "Later", key_display="]"),
        Binding("f", "follow", "Follow"),
        Binding("a", "again", "Again"),
        Binding("s", "stop", "Stop"),
        Binding("enter", "keep", "Keep", priority=True),
        Binding("right,l", "app.focus_next", show=False),
        Binding("left,h", "app.focus_previous", show=False),
    ]

    def __init__(
        self,
        another: Callable[[str], ChatBackend],
        models: Sequence[str],
        known: Sequence[str],
        question: Question,
    ) -> None:
        super().__init__()
        self._known = list(known)
        self._question = question
        self._models = [_checkpoint(model, known) for model in models[:MOST]]
        self._backends = [another(model) for model in self._models]
        self._panes = [Pane(model, plain=question.text is not None) for model in self._models]
        self._askings: list[Asking | None] = [None] * len(self._models)
        self._following = False

    def compose(self) -> ComposeResult:
        """A line, the panes."""
        yield Static(id="about")
        with Horizontal(id="panes"):
            yield from self._panes

    def on_mount(self) -> None:
        """Asks each of them."""
        self._tell()
        for number in range(len(self._panes)):
            self._ask(number)
        self.set_interval(TICK_S, self._take)
        self.set_interval(FOLLOW_S, self._look_for_new)

    def _ask(self, number: int) -> None:
        if (before := self._askings[number]) is not None:
            before.stop()
        self._panes[number].restart(self._models[number])
        self._askings[number] = Asking(self._backends[number], self._question)

    def _take(self) -> None:
        for pane, asking in zip(self._panes, self._askings, strict=True):
            if asking is None:
                continue
            over = asking.over
            pane.take(asking.take())
            if over and asking.error is not None and pane.turn.running:
                pane.fail(asking.error)

    async def _look_for_new(self) -> None:
        """A run that is followed may have saved: its pane goes on there."""
        if not self._following:
            return
        try:
            self._known = list(await asyncio.to_thread(self._backends[0].models))
        except NanochatError:
            return
        for number, model in enumerate(self._models):
            newest = [name for name in self._known if name.partition("@")[0] == model.partition("@")[0]]
            if newest and newest[-1] != model and self._askings[number] and self._askings[number].over:  # type: ignore[union-attr]
                self._change(number, newest[-1])

    def _change(self, number: int, model: str) -> None:
        if (before := self._askings[number]) is not None:
            before.stop()
        try:
            self._backends[number].switch(model)
        except NanochatError as error:
            self.app.notify(error.message, severity="error", markup=False)
            return
        self._models[number] = model
        self._ask(number)

    def _at(self) -> int:
        focused = self.focused
        return self._panes.index(focused) if isinstance(focused, Pane) else 0

    def action_move(self, step: int) -> None:
        """One pane, one checkpoint earlier or later."""
        number = self._at()
        names = self._known
        at = names.index(self._models[number]) + step if self._models[number] in names else 0
        if 0 <= at < len(names):
            self._change(number, names[at])
        else:
            self.app.notify("there is no checkpoint further that way", markup=False)

    def action_follow(self) -> None:
        """Go on to each new checkpoint, or no longer."""
        self._following = not self._following
        self._tell()

    def action_again(self) -> None:
        """Ask all of them once more."""
        for number in range(len(self._panes)):
            self._ask(number)

    def action_stop(self) -> None:
        """Enough said."""
        for asking in self._askings:
            if asking is not None:
                asking.stop()

    def action_keep(self) -> None:
        """The answer of this pane goes into the conversation."""
        pane = self._panes[self._at()]
        if pane.end is None:
            self.app.notify("it is not whole yet; s stops all of them", markup=False)
            return
        self.dismiss((pane.end.message, figures_of(pane.end), self._models[self._at()]))

    def action_back(self) -> None:
        """Keep none."""
        self.dismiss(None)

    def on_unmount(self) -> None:
        """The models go."""
        self.action_stop()
        for backend in self._backends:
            backend.close()

    def _tell(self) -> None:
        follows = "following; f stops that" if self._following else "f follows a run"
        keys = f"Tab pane   [ ] its checkpoint   Enter keeps it   a asks again   {follows}   s stops   Esc back"
        self.query_one("#about", Static).update(Text(keys, "dim"))


def _checkpoint(name: str, known: Sequence[str]) -> str:
    """The last checkpoint that a name without a step means; the name itself where that is not known."""
    if name in known:
        return name
    return next((each for each in reversed(known) if each.startswith((f"{name}@", f"{name}:"))), name)


def choice(known: Sequence[str], present: str) -> list[str]:
    """What to compare where nobody says: the end of each stage of this model, or steps of its one stage; others where
    it has but one checkpoint.
    """
    tag = present.partition(":")[0]
    own = [name for name in known if name.partition(":")[0] == tag]
    if len(own) < 2:
        own = list(known)
    stages: dict[str, str] = {}
    for name in own:
        stages[name.partition("@")[0]] = name
    if len(stages) > 1:
        return list(stages.values())[-MOST:]
    if len(own) <= MOST:
        return own
    places = [round(at * (len(own) - 1) / (MOST - 1)) for at in range(MOST)]
    return [own[at] for at in places]
