"""The screen of a conversation: its parts, how an answer gets onto it, and how the model comes and goes.

The prompt can be used from the first frame on; the model loads in a process of its own meanwhile. What an answer sends
is taken at most twenty times a second, and less often when showing it takes long, so that it never holds up a key.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import events, on
from textual.app import ComposeResult, SystemCommand
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import OptionList, Static, TextArea

from nanochat.runtime.safe_text import safe_line
from nanochat.tui.chat.branches import Branches
from nanochat.tui.chat.completion import Completions, offers
from nanochat.tui.chat.doing import Doing
from nanochat.tui.chat.keyline import KeyLine
from nanochat.tui.chat.prompt import Prompt
from nanochat.tui.chat.registry import COMMANDS, KEYS, Where, key_name
from nanochat.tui.chat.side import Side
from nanochat.tui.chat.transcript import Transcript
from nanochat.tui.chat.turn import Turn

SIDE_FROM = 112  # cells from which the side panel is there unasked


class ChatApp(Doing):
    """The chat.

    Args:
        opening: what it begins with.
    """

    TITLE = "nanochat"
    CSS_PATH = "chat.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        # before any part of the screen, which has keys of its own; Escape is what a list or a field takes first
        Binding(
            key.keys,
            key.does,
            key.footer or key.help,
            show=bool(key.footer),
            id=key.id,
            priority=key.id != "stop",
        )
        for key in KEYS
        if key.where == "anywhere"
    ]

    def compose(self) -> ComposeResult:
        """Head, branches, messages, side panel, prompt, keys."""
        yield Static(id="head")
        with Horizontal(id="middle"):
            yield Transcript(self.welcome(), id="transcript")
            yield Side(self.talk.config, self.talk.system, id="side")
        yield Static(id="trouble")
        yield Completions(id="completions")
        yield Prompt(self.store.prompts, self.opening.keymap or {}, id="prompt")
        yield KeyLine(self.opening.keymap or {}, id="keys")

    def on_mount(self) -> None:
        """The prompt is there; the model begins to load once it has been seen."""
        self.query_one("#prompt").focus()
        self.query_one("#side").set_class(self.size.width >= SIDE_FROM, "shown")
        self.show_head()
        self.begin_ticking()
        for line in self.notice_lines:
            self.notify(safe_line(line), severity="warning", timeout=8, markup=False)
        self.call_after_refresh(self.go_on)

    async def go_on(self) -> None:
        """What the first frame has not waited for."""
        self.prepare()
        self.load()
        await self.query_one("#middle").mount(Branches(id="branches"), before=0)
        await self.side.fill()
        self.show_head()

    def welcome(self) -> Text:
        """What stands where nothing has been said yet."""
        text = Text.assemble(("Ask something. ", "bold")).append(
            "Enter sends, Alt+Enter or Ctrl+J begins a new line.\n\n"
        )
        for key, what in (
            ("/", "commands, completed as you type; F1 has them all"),
            ("Esc", "stops an answer and keeps what was said"),
            ("Tab", "goes to the messages: e edits, r asks again, [ and ] change between answers"),
            ("/compare", "the same question to several checkpoints, side by side"),
            ("/logprobs", "an answer token by token, with what else could have been said"),
            ("/load", "earlier conversations; nothing of them is lost, every edit is a branch"),
        ):
            text.append(f"{key:<11}", "bold cyan").append(f"{what}\n", "dim")
        return text

    def on_resize(self) -> None:
        """The first line is as long as the screen is wide."""
        if self.screen_stack[0].query("#head"):
            self.call_after_refresh(self.show_head)
            self.call_after_refresh(self.show_keys)

    @on(events.DescendantFocus)
    def show_keys(self) -> None:
        """The keys of where one is."""
        where: Where = "message" if isinstance(self.focused, Turn) else "anywhere"
        for line in self.screen_stack[0].query(KeyLine):
            line.show(where, self.size.width)

    # the prompt

    @on(TextArea.Changed, "#prompt")
    def _typed(self) -> None:
        found = offers(self.prompt.text, self.values)
        completions = self.query_one("#completions", Completions)
        completions.show(found)
        self.prompt.completing = bool(found)

    @on(Prompt.Chosen)
    def _moved(self, message: Prompt.Chosen) -> None:
        self.query_one("#completions", Completions).move(message.step)

    @on(Prompt.Completing)
    def _complete(self, message: Prompt.Completing) -> None:
        if self.query_one("#completions", Completions).chosen is not None:
            self._completed()
        elif message.sends:  # more was typed, and Enter pressed, before the list was gone
            self.prompt.completing = False
            self.prompt.action_send()

    def _completed(self) -> None:
        offer = self.query_one("#completions", Completions).chosen
        if offer is None:
            return
        typed = self.prompt.text.rstrip()
        self.prompt.put(offer.text)
        if offer.done and offer.text.rstrip() == typed:
            self.prompt.completing = False
            self.prompt.action_send()

    @on(OptionList.OptionSelected, "#completions")
    def _clicked(self) -> None:
        self._completed()
        self.prompt.focus()

    @on(Prompt.Sent)
    async def _sent(self, message: Prompt.Sent) -> None:
        await self.take_prompt(message.text)

    @on(Prompt.Searching)
    def _searching(self) -> None:
        self.pick_prompt()

    @on(Side.Sampling)
    def _sampling(self, message: Side.Sampling) -> None:
        self.talk.config = message.config

    @on(Side.System)
    def _system(self, message: Side.System) -> None:
        self.talk.set_system(message.text.strip())
        self.count_context()

    @on(Branches.Wanted)
    async def _wanted(self, message: Branches.Wanted) -> None:
        await self.go(message.node)

    async def on_click(self, event: Any) -> None:
        """Earlier messages are shown by a click."""
        if getattr(event.widget, "id", None) == "earlier":
            await self.transcript.show_all(self.talk)
            self.count_context()

    # within

    def get_system_commands(self, screen: Screen) -> Any:
        """The palette: every command, then every key that has none."""
        for command in COMMANDS:
            yield SystemCommand(command.usage, command.help, lambda command=command: self.from_palette(command))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Over another screen our keys are that screen's; Ctrl+C is the same everywhere."""
        ours = {key.does for key in KEYS if key.where == "anywhere"} - {"interrupt"}
        return action not in ours or len(self.screen_stack) <= 1

    def get_key_display(self, binding: Binding) -> str:
        """Keys as people write them."""
        return key_name(binding.key)

    async def on_unmount(self) -> None:
        """Nothing goes on without the screen."""
        self.end_everything()
