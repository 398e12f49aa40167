"""What commands share: flags from configurations, `--json`, `--base-dir`, `--yes`, and where text goes.

    @click.command()
    @config_options(BaseTrainConfig, "train.base")
    @base_dir_option
    @json_option
    def base(config: Resolved[BaseTrainConfig], base_dir: str | None, as_json: bool) -> None: ...

Data goes to stdout (`emit_json`, `click.echo`), everything else to stderr (`human_console`). TAB and `--help`
import this module: click is the only library at its top.
"""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from nanochat.config.base import GlobalConfig
from nanochat.config.fields import REQUIRED, OptionSpec, options_of
from nanochat.config.load import Preset, Resolved, Settings, build
from nanochat.config.sections import GLOBAL
from nanochat.console.log_format import wants_json
from nanochat.errors import NanochatError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C")

# C1 controls, soft hyphen, format and direction marks, line separators, halves of pairs, tags.
_UNSEEN = (
    r"[\x7f-\x9f\xad\u0600-\u0605\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)

_READ = "read_config"  # attribute of a command's function, for `config_of`
_METAVARS = {int: "INT", float: "NUMBER", bool: "BOOL", str: "TEXT"}


class FieldType(click.ParamType):
    """The type of a flag made from a field: the field itself reads the text."""

    def __init__(self, spec: OptionSpec) -> None:
        self.spec = spec
        self.name = spec.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Reads the text of the flag."""
        if not isinstance(value, str):
            return value
        try:
            return self.spec.from_text(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Names the value in help by its unit, else by its type."""
        spec = self.spec
        if spec.choices:
            return "[" + "|".join(str(choice) for choice in spec.choices) + "]"
        if spec.unit:
            return spec.unit.upper().replace(" ", "_")
        return {"count": "COUNT", "path": "PATH"}.get(str(spec.parse), _METAVARS[spec.type])

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offers the choices, or files where the value is a path."""
        if self.spec.parse == "path":
            return [CompletionItem(incomplete, type="file")]
        choices = [str(choice) for choice in self.spec.choices]
        return [CompletionItem(choice) for choice in choices if choice.startswith(incomplete)]


class FieldOption(click.Option):
    """A flag made from a field. Its help shows the default of the dataclass; not given, its value is None."""

    def __init__(self, spec: OptionSpec) -> None:
        self.spec = spec
        names = list(spec.flags)
        kind: dict[str, Any] = {"type": FieldType(spec)}
        if spec.type is bool and not spec.optional:
            names[-1] = f"{names[-1]}/--no-{names[-1].removeprefix('--')}"
            kind = {"is_flag": True}
        super().__init__([spec.name, *names], help=spec.help, hidden=spec.hidden, default=None, **kind)

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Adds the default of the dataclass, written as one would type it."""
        extra = super().get_help_extra(ctx)
        spec = self.spec
        if spec.default is REQUIRED:
            extra["required"] = "required"
        elif spec.type is bool and not spec.optional:
            flag = spec.flags[-1].removeprefix("--")
            extra["default"] = flag if spec.default else f"no-{flag}"
        elif spec.default is not None:
            extra["default"] = spec.to_text(spec.default) or '""'
        return extra


def config_options(
    cls: type[Any],
    section: str,
    *,
    into: str = "config",
    preset: Callable[[Mapping[str, Any]], Preset | None] | None = None,
    config_file: bool = False,
) -> Callable[[F], F]:
    """Gives a command one flag for each `option()` of a configuration, and the configuration itself.

    Args:
        cls: the configuration.
        section: its name in files and in the environment, e.g. "train.base".
        into: parameter of the command that receives the `Resolved` configuration.
        preset: from the command's other parameters, the preset that replaces defaults, or None.
        config_file: add `--config FILE`, whose keys win over environment and other files.
    """
    specs = options_of(cls)

    def read(ctx: click.Context, params: dict[str, Any]) -> Resolved[Any]:
        """The configuration of a parsed command; takes its flags out of `params`."""
        given = {spec.name: params.pop(spec.name) for spec in specs}
        flags = {
            name: value
            for name, value in given.items()
            if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        }
        settings = current_settings()
        if config_file and (path := params.pop("config_file")):
            settings = settings.with_file(path, section)
        chosen = preset(params) if preset else None
        return build(cls, section, flags, settings, preset=chosen)

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(*args: Any, **params: Any) -> Any:
            params[into] = read(click.get_current_context(), params)
            return function(*args, **params)

        command.__dict__[_READ] = read
        options: list[click.Option] = [FieldOption(spec) for spec in specs]
        if config_file:
            help = f"TOML file with any of these settings, by themselves or in [{section}]; flags win."
            kind = click.Path(path_type=Path)
            options.append(click.Option(["--config", "config_file"], type=kind, metavar="FILE", help=help))
        add_options(command, options)
        return command  # type: ignore[return-value]

    return decorate


def config_of(ctx: click.Context) -> Any:
    """The configuration that the command of a parsed context would receive; the command is not run.

    Raises:
        NanochatError: as the command itself, where its settings cannot work.
    """
    assert ctx.command.callback is not None
    with ctx.scope(cleanup=False):
        resolved: Resolved[Any] = getattr(ctx.command.callback, _READ)(ctx, dict(ctx.params))
    return resolved.value


def base_dir_option(function: F) -> F:
    """Adds `--base-dir` and gives the command `base_dir: str | None`, from flag, environment or files.

    The same flag before the sub-command (`nanochat --base-dir X chat`) counts when this one is not given.
    """
    spec = global_spec("base_dir")

    @functools.wraps(function)
    def command(*args: Any, base_dir: str | None, **params: Any) -> Any:
        ctx = click.get_current_context()
        flags = {}
        for context, value in ((ctx, base_dir), (ctx.find_root(), ctx.find_root().params.get("base_dir"))):
            if context.get_parameter_source("base_dir") is ParameterSource.COMMANDLINE:
                flags["base_dir"] = spec.from_text(str(value))
                break
        resolved: Resolved[GlobalConfig] = build(GlobalConfig, GLOBAL, flags, current_settings())
        return function(*args, base_dir=resolved.value.base_dir, **params)

    add_options(command, [FieldOption(spec)])
    return command  # type: ignore[return-value]


def global_spec(name: str) -> OptionSpec:
    """A setting that commands share, by its name."""
    return next(spec for spec in options_of(GlobalConfig) if spec.name == name)


def json_option(function: F) -> F:
    """Adds `--json` and gives the command `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(function)


def yes_option(function: F) -> F:
    """Adds `--yes` and gives the command `yes: bool`, for `confirm`."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def current_settings() -> Settings:
    """Environment and configuration files of this process, read once per invocation."""
    meta = click.get_current_context().find_root().meta
    if "nanochat.settings" not in meta:
        meta["nanochat.settings"] = Settings.read(Path.cwd(), os.environ)
    settings: Settings = meta["nanochat.settings"]
    return settings


def confirm(question: str, *, yes: bool) -> None:
    """Asks on stderr before something that cannot be undone; returns only on consent.

    Args:
        question: e.g. "Delete d12:sft (1.2 GB)?".
        yes: value of `--yes`; True answers without asking.

    Raises:
        UsageError: there is no one to ask.
        NanochatError: the answer was no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"cannot ask {question!r}: standard input is no terminal", "add --yes")
    if wants_json():
        raise UsageError(f"cannot ask {question!r}: standard error is for programs", "add --yes")
    if not click.confirm(question, err=True):
        raise NanochatError("nothing was changed", "answer y, or add --yes")


def is_plain(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether text on this stream must be free of colour and animation.

    So it is when the stream is no terminal, `NO_COLOR` is set to anything, or `TERM` is `dumb`.
    """
    return not stream.isatty() or bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


def human_console() -> Console:
    """A rich console on stderr for progress and notices, plain where `is_plain` says so."""
    from rich.console import Console

    plain = is_plain(sys.stderr, os.environ)
    return Console(
        stderr=True,
        force_terminal=not plain,
        no_color=plain,
        force_interactive=not plain,
        highlight=False,
        soft_wrap=plain,
    )


def emit_json(value: Any) -> None:
    """Prints a value as JSON on stdout: dataclasses become objects, paths text, NaN and infinities null.

    Characters that could act on a terminal, or that no one sees, are written \\u202e and the like.
    """
    import json
    import re

    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    text = json.dumps(_jsonable(value), indent=2, ensure_ascii=not utf8)
    # all of them stand inside of strings, where JSON has escapes; json itself writes only C0 so
    click.echo(re.sub(_UNSEEN, lambda match: json.dumps(match[0])[1:-1], text))


def _jsonable(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return str(value)


def add_options(command: Any, options: list[click.Option]) -> None:
    """Puts options before those that decorators further down have added, in their own order."""
    # click reads this list from the last to the first; a copy, so that the wrapped function keeps its own.
    command.__click_params__ = [*getattr(command, "__click_params__", []), *reversed(options)]
