"""The side panel: the model, how full its context is, system prompt and sampling, changed where they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rich.text import Text
from textual import on
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from nanochat.config.chat import SamplingConfig
from nanochat.config.fields import OptionSpec, options_of
from nanochat.engine.backend import ContextUse, Loaded
from nanochat.errors import UsageError
from nanochat.runtime.safe_text import safe_line, safe_text

SPECS: dict[str, OptionSpec] = {spec.name: spec for spec in options_of(SamplingConfig)}
_NAMES = {"repetition_penalty": "repeat", "max_new_tokens": "max-tokens"}
BAR = 20


def setting_name(name: str) -> str:
    """A field as commands call it: `top-k`."""
    return _NAMES.get(name, name.replace("_", "-"))


def field_of(name: str) -> str | None:
    """The field that people call so; None for none."""
    short = name.lower().replace("_", "-")
    known = {setting_name(field): field for field in SPECS} | {field.replace("_", "-"): field for field in SPECS}
    return known.get(short) or known.get({"temp": "temperature"}.get(short, ""))


def changed(config: SamplingConfig, field: str, text: str) -> SamplingConfig:
    """The settings with one of them read from text.

    Raises:
        UsageError: it is no such value.
    """
    try:
        return replace(config, **{field: SPECS[field].from_text(text.strip())})
    except ValueError as error:
        raise UsageError(
            f"{setting_name(field)}: {error}", f"now it is {SPECS[field].to_text(getattr(config, field))}"
        ) from None


class Side(VerticalScroll, can_focus=False):
    """The panel."""

    @dataclass
    class Sampling(Message):
        """Somebody changed how to sample."""

        config: SamplingConfig

    @dataclass
    class System(Message):
        """Somebody changed the system prompt."""

        text: str

    def __init__(self, config: SamplingConfig, system: str, *, id: str) -> None:
        super().__init__(id=id)
        self.config = config
        self.filled = False
        self._system = system

    async def fill(self) -> None:
        """Make its parts, which the first frame does not wait for: they are half of all there are."""
        await self.mount_all(list(self._parts()))
        self.filled = True

    def _parts(self) -> Iterable[Widget]:
        """Model, context, system prompt, a field for each setting."""
        yield Static(id="model")
        yield Static(id="context")
        yield Static(Text("System prompt", "bold"), classes="title")
        yield TextArea(
            safe_text(self._system), id="system", compact=True, tab_behavior="focus", highlight_cursor_line=False
        )
        yield Static(Text("Sampling", "bold"), classes="title")
        for name, spec in SPECS.items():
            field = Input(
                spec.to_text(getattr(self.config, name)),
                id=f"set-{name}",
                compact=True,
                tooltip=Text(spec.help),
                select_on_focus=True,
            )
            yield Horizontal(Static(setting_name(name)), field, classes="setting")
        yield Static(id="wrong")

    def show_model(self, loaded: Loaded | None, name: str, trouble: str, tool: str | None) -> None:
        """What answers, and what it may call."""
        if not self.filled:
            return
        text = Text.assemble((safe_line(loaded.place if loaded else name), "bold"))
        if trouble:
            text.append(f"\n{safe_line(trouble)}", "red")
        elif loaded is None:
            text.append("\nloading…", "dim")
        else:
            about = [loaded.device, loaded.dtype, f"{loaded.context:,} tokens" if loaded.context else ""]
            text.append("\n" + safe_line(" · ".join(part for part in about if part)), "dim")
        if tool is not None:
            text.append(f"\ntool: {tool}", "dim")
        self.query_one("#model", Static).update(text)

    def show_context(self, use: ContextUse | None) -> None:
        """How full the context is."""
        if not self.filled:
            return
        text = Text()
        if use is not None and use.limit:
            share = min(1.0, use.used / use.limit)
            filled = round(share * BAR)
            style = "red" if share > 0.9 else "yellow" if share > 0.7 else "green"
            text.append("━" * filled, style).append("─" * (BAR - filled), "dim")
            text.append(f" {use.used:,}/{use.limit:,}", "dim")
            if use.forgotten:
                text.append(f"\n{turns(use.forgotten)} no longer sent", "yellow")
        self.query_one("#context", Static).update(text)

    def show_settings(self, config: SamplingConfig, system: str) -> None:
        """Other settings, unless they stand there already."""
        self.config = config
        if not self.filled:
            return
        for name, spec in SPECS.items():
            field = self.query_one(f"#set-{name}", Input)
            value = spec.to_text(getattr(config, name))
            if field.value != value and not field.has_focus:
                with field.prevent(Input.Changed):
                    field.value = value
        area = self.query_one("#system", TextArea)
        if area.text != safe_text(system) and not area.has_focus:
            with area.prevent(TextArea.Changed):
                area.text = safe_text(system)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        name = (event.input.id or "").removeprefix("set-")
        wrong = ""
        try:
            config = changed(self.config, name, event.value)
            if config != self.config:
                self.config = config
                self.post_message(self.Sampling(config))
        except UsageError as error:
            wrong = error.message
        event.input.set_class(bool(wrong), "wrong")
        self.query_one("#wrong", Static).update(Text(wrong, "red"))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.screen.focus_next()

    @on(TextArea.Changed, "#system")
    def _system_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self.post_message(self.System(event.text_area.text))


def turns(count: int) -> str:
    """`1 turn`, `3 turns`."""
    return f"{count} turn{'' if count == 1 else 's'}"
