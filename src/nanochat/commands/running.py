"""What commands that run stages share: how the run is shown on stderr, and who else is told of it.

    @click.command()
    @config_options(BaseTrainConfig, "train.base")
    @progress_options(training=True)
    def base(config: Resolved[BaseTrainConfig]) -> None:
        with show_progress("base", paths=paths) as on_event: ...

What was chosen travels in click's context, so a command's own parameters stay those of its work.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import click
from click.core import ParameterSource

from nanochat.commands.options import F, FieldOption, add_options, current_settings, global_spec, human_console
from nanochat.config.base import LOGGERS, GlobalConfig
from nanochat.config.load import build
from nanochat.config.sections import GLOBAL
from nanochat.console.log_format import LOG_FORMAT, wants_json
from nanochat.runtime.events import Event, Notice, OnEvent
from nanochat.runtime.processes import is_first

if TYPE_CHECKING:
    from collections.abc import Callable

    from nanochat.runtime.paths import Paths

_KEY = "nanochat.shown"


class Display(Protocol):
    """Consumes events, and steps aside for a question."""

    def __call__(self, event: Event) -> None:
        """Take in one event."""

    def paused(self) -> AbstractContextManager[None]:
        """Leave the terminal to others meanwhile."""


@dataclass(frozen=True, slots=True)
class _Audience:
    """A display, and loggers that hear the same events."""

    display: Display
    loggers: OnEvent

    def __call__(self, event: Event) -> None:
        self.display(event)
        self.loggers(event)

    def paused(self) -> AbstractContextManager[None]:
        return self.display.paused()


def progress_options(*, training: bool = False) -> Callable[[F], F]:
    """Adds `--log-format`, and for training also `--price-per-hour` and `--logger`; `show_progress` heeds them.

    Each can be set at the top of a configuration file and in the environment too.
    """
    names = ("log_format", "price_per_hour") if training else ("log_format",)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, **params: Any) -> Any:
            ctx = click.get_current_context()
            given = {name: params.pop(name) for name in (*names, "logger") if name in params}
            flags = {
                name: value
                for name, value in given.items()
                if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
            }
            if "logger" in flags:
                flags["logger"] = ",".join(dict.fromkeys(flags["logger"]))
            shown = build(GlobalConfig, GLOBAL, flags, current_settings()).value
            LOG_FORMAT.set(shown.log_format)
            if training:
                from nanochat.loggers.attach import check_installed

                check_installed(shown.loggers)
            ctx.meta[_KEY] = shown
            return function(*args, **params)

        options: list[click.Option] = [FieldOption(global_spec(name)) for name in names]
        if training:
            spec = global_spec("logger")
            options.append(click.Option(spec.flags, multiple=True, type=click.Choice(LOGGERS), help=spec.help))
        add_options(command, options)
        return command  # type: ignore[return-value]

    return decorate


def chosen() -> GlobalConfig:
    """What was chosen for this command with `progress_options`."""
    config: GlobalConfig | None = click.get_current_context().meta.get(_KEY)
    return config or GlobalConfig()


@contextmanager
def show_progress(*stages: str, paths: Paths | None = None) -> Iterator[Display]:
    """A display of these stages; the block's value consumes events.

    Args:
        stages: the pipeline that is shown, in order.
        paths: where loggers keep their files; without it none is told.
    """
    shown = chosen()
    with ExitStack() as stack:
        display: Display
        if wants_json():
            from nanochat.console.json_lines import JsonLines

            display = stack.enter_context(JsonLines())
        else:
            from nanochat.console.progress import ConsoleProgress

            progress = ConsoleProgress(stages, console=human_console(), price_per_hour=shown.price_per_hour)
            display = stack.enter_context(progress)
        if not shown.loggers or paths is None or not is_first(os.environ):
            yield display
            return
        from nanochat.loggers.attach import attach_loggers

        yield _Audience(display, stack.enter_context(attach_loggers(shown.loggers, paths, display)))


def tell(text: str, level: str = "info") -> None:
    """Something for people on stderr, outside of the display; a notice where stderr is for programs."""
    if wants_json():
        from nanochat.console.json_lines import write_record
        from nanochat.runtime.events import record_of

        write_record(record_of(Notice(stage="", level=level, message=text)))
    else:
        click.echo(f"warning: {text}" if level == "warning" else text, err=True)
