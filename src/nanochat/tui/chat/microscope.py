"""An answer token by token: how likely each was, what else could have been said, and a fork with that instead."""

from __future__ import annotations

import asyncio
import math
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from nanochat.engine.backend import ChatBackend
from nanochat.engine.events import Candidate, Token
from nanochat.errors import NanochatError
from nanochat.runtime.safe_text import safe_line, safe_text
from nanochat.tokenizer.conversation import Message

TOP = 10
BAR = 10
TOKEN_CELLS = 20
# What is behind a token, by its probability: none where it was sure.
_HEAT = {
    True: ((0.9, ""), (0.5, "#26402f"), (0.2, "#4d4620"), (0.05, "#5f3a1e"), (0.0, "#6b2430")),
    False: ((0.9, ""), (0.5, "#d9ecd2"), (0.2, "#f3e7b3"), (0.05, "#f6d2ac"), (0.0, "#f3b9bd")),
}


class Microscope(ModalScreen[tuple[int, ...] | None]):
    """Answers with the ids an answer is to begin with, or None.

    Args:
        backend: the model that is asked what it thinks of the text.
        text: the answer.
        messages: what stands before it; none for plain text.
        tokens: what it was told by while it was given, if that is still known.
        fork: whether one may go on with an alternative.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "Back"),
        Binding("right,l", "move(1)", "Next", priority=True),
        Binding("left,h", "move(-1)", "Before", priority=True),
        Binding("shift+right", "jump(1)", "Next unlikely", priority=True),
        Binding("shift+left", "jump(-1)", "Unlikely before", priority=True),
        Binding("home", "move(-1000000)", show=False, priority=True),
        Binding("end", "move(1000000)", show=False, priority=True),
        Binding("s", "special", "Special"),
    ]

    def __init__(
        self,
        backend: ChatBackend,
        text: str,
        messages: tuple[Message, ...],
        tokens: tuple[Token, ...] = (),
        *,
        fork: bool = True,
    ) -> None:
        super().__init__()
        self._backend = backend
        self._text = text
        self._messages = messages
        self._fork = fork
        self.tokens = tokens
        self.at = 0
        self._special = False

    def compose(self) -> ComposeResult:
        """The text; beside it the token and what else could stand there."""
        yield Static(id="about")
        with Horizontal(id="lens"):
            with VerticalScroll(id="slide"):
                yield Static(id="tokens")
            with VerticalScroll(id="beside"):
                yield Static(id="token")
                yield OptionList(id="others", compact=True)
                yield Static(id="sum")

    def on_mount(self) -> None:
        """Asks the model, unless it was told already."""
        self._say("the model reads the answer…")
        self.query_one("#others").focus()
        if any(token.top for token in self.tokens):
            self._ready()
        else:
            self.run_worker(self._examine(), exclusive=True)

    async def _examine(self) -> None:
        try:
            found = await asyncio.to_thread(self._backend.examine, self._text, self._messages, TOP)
        except NanochatError as error:
            self._say(f"{safe_line(error.message)}; {safe_line(error.hint)}", "red")
            return
        self.tokens = found.tokens
        self._ready()

    def _ready(self) -> None:
        fork = "   Enter goes on with it" if self._fork else ""
        self._say(f"← → move   Shift: to the next unlikely one   ↑ ↓ choose{fork}   s special ones   Esc back")
        self.query_one("#sum", Static).update(summary(self.tokens))
        self._show()

    def _say(self, text: str, style: str = "dim") -> None:
        self.query_one("#about", Static).update(Text(text, style))

    def _show(self) -> None:
        if not self.tokens:
            self._say("there is nothing to look at; Esc goes back")
            return
        text, line = heat(self.tokens, self.at, dark=self.app.current_theme.dark, special=self._special)
        self.query_one("#tokens", Static).update(text)
        slide = self.query_one("#slide", VerticalScroll)
        width = max(1, slide.size.width - 2)
        above = sum(max(1, -(-len(row) // width)) for row in text.plain.split("\n")[:line])
        if not slide.scroll_y <= above < slide.scroll_y + max(1, slide.size.height):
            slide.scroll_to(y=max(0, above - 2), animate=False)
        token = self.tokens[self.at]
        self.query_one("#token", Static).update(about(token, self.at, len(self.tokens)))
        others = self.query_one("#others", OptionList)
        others.clear_options()
        others.add_options(Option(candidate_line(each, token)) for each in token.top)
        others.highlighted = 0 if token.top else None

    def action_move(self, step: int) -> None:
        """Another token."""
        if self.tokens:
            self.at = max(0, min(len(self.tokens) - 1, self.at + step))
            self._show()

    def action_jump(self, step: int) -> None:
        """The next token that was less likely than not."""
        at = self.at + step
        while 0 <= at < len(self.tokens):
            if self.tokens[at].probability < 0.5:
                self.at = at
                self._show()
                return
            at += step

    def action_special(self) -> None:
        """Show or hide what no text can make."""
        self._special = not self._special
        self._show()

    @on(OptionList.OptionSelected, "#others")
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        candidate = self.tokens[self.at].top[event.option_index]
        before = [token.id for token in self.tokens[: self.at]]
        if not self._fork or candidate.id is None or None in before:
            self.app.notify("it cannot go on from here: only answers of a chat model can", markup=False)
            return
        self.dismiss((*(id for id in before if id is not None), candidate.id))


def heat(tokens: tuple[Token, ...], at: int, *, dark: bool, special: bool) -> tuple[Text, int]:
    """The tokens on their heat, the one at a place marked; and the line of the text it stands on."""
    text, line = Text(), 0
    for place, token in enumerate(tokens):
        shown = f"⟨{safe_line(token.text)}⟩" if token.special else safe_text(token.text)
        if token.special and not special and place != at:
            continue
        if place == at:
            line = text.plain.count("\n")
            shown = shown.replace("\n", "⏎\n") if shown.strip("\n") != shown else shown
            text.append(shown, Style(reverse=True, bold=True))
        elif token.forced or token.special:
            text.append(shown, Style(dim=True, italic=token.special))
        else:
            back = next(colour for least, colour in _HEAT[dark] if token.probability >= least)
            text.append(shown, Style(bgcolor=back or None))
    return text, line


def about(token: Token, at: int, count: int) -> Text:
    """What is known of one token."""
    text = Text.assemble((f"token {at + 1:,} of {count:,}\n", "dim"))
    text.append(quoted(token), "bold").append(f"  id {token.id}" if token.id is not None else "", "dim")
    if token.forced:
        text.append("\nput there: a prefix, or the result of a tool", "dim")
    else:
        text.append(f"\n{share(token.probability)}", "bold").append(f"  {-token.logprob / math.log(2):.2f} bits", "dim")
        entropy = -sum(each.probability * each.logprob for each in token.top) / math.log(2)
        if token.top:
            text.append(f"  entropy ≥ {entropy:.2f}", "dim")
    return text


def candidate_line(candidate: Candidate, chosen: Token) -> Text:
    """A token that could stand there, with its share."""
    filled = round(candidate.probability * BAR)
    mark = "•" if candidate.id == chosen.id and candidate.data == chosen.data else " "
    text = Text(f"{mark} {share(candidate.probability):>7} ", no_wrap=True)
    text.append("━" * filled, "green").append("─" * (BAR - filled), "dim").append(" ")
    name = Text(quoted(candidate), "bold")
    name.truncate(TOKEN_CELLS, overflow="ellipsis")
    return text.append_text(name)


def summary(tokens: tuple[Token, ...]) -> Text:
    """Figures of all of them."""
    sampled = [token for token in tokens if not token.forced]
    size = sum(len(token.data) for token in sampled if not token.special)
    if not sampled or not size:
        return Text()
    nats = -sum(token.logprob for token in sampled)
    bits = nats / math.log(2) / size
    return Text(
        f"\n{len(tokens):,} tokens, {bits:.3f} bits per byte, perplexity {math.exp(nats / len(sampled)):.2f}", "dim"
    )


def quoted(candidate: Candidate) -> str:
    """Its text so that white space can be seen."""
    return "“" + safe_line(candidate.text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")) + "”"


def share(probability: float) -> str:
    """97.2%, 0.04%."""
    percent = 100 * probability
    return f"{percent:.1f}%" if percent >= 0.95 else f"{percent:.2g}%" if percent >= 0.001 else "0.00%"
