"""Fields of a configuration: what they mean, how their values are read from text, which of them are flags.

A configuration is a frozen, keyword-only, slotted dataclass whose fields are `str`, `int`, `float`, `bool`, a
`Literal` of strings, or one of these `| None`:

    @dataclass(frozen=True, kw_only=True, slots=True)
    class BaseTrainConfig:
        depth: int = option(12, "Number of transformer layers; sets the width too.")
        max_chars: int = option(2_000_000_000, "Stop after so much text.", unit="chars", parse="count")
        adam_eps: float = 1e-10

`options_of` lists the fields made with `option()`: they become command-line flags. `settings_of` lists every
field of a supported type: all of them can be set in a configuration file or the environment. Reading files is
`load.py`, making flags of it is `commands/options.py`; nothing here knows of either, of click or of torch.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

REQUIRED: Any = dataclasses.MISSING
"""Default of a field that has none: someone has to give a value."""

Parse = Literal["count", "path", "auto"] | Callable[[str], Any]

_METADATA_KEY = "nanochat.option"
_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}
_NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


@dataclasses.dataclass(frozen=True, slots=True)
class OptionSpec:
    """One field as its readers see it.

    Attributes:
        name: name of the field, and its key in a configuration file.
        flags: spellings on the command line (`("--depth",)`); empty where the field is no flag.
        type: `str`, `int`, `float` or `bool`.
        optional: whether None is a value; in text it is written `none`.
        default: value of the dataclass, or `REQUIRED`.
        help: one sentence for help pages.
        unit: what a number counts (`"tokens"`), "" where it has no unit.
        choices: the only values allowed; empty where any will do.
        parse: `"count"` (2B, 512K), `"path"` (`~` is the home folder), `"auto"` (a number, or `auto` for 0), a
            function of the text, or None.
        hidden: a flag that works but is not listed in help.
    """

    name: str
    flags: tuple[str, ...]
    type: type
    optional: bool
    default: Any
    help: str = ""
    unit: str = ""
    choices: tuple[Any, ...] = ()
    parse: Parse | None = None
    hidden: bool = False

    def from_text(self, text: str) -> Any:
        """Reads a value of this field as typed on a command line or found in the environment.

        Raises:
            ValueError: the text is no such value; the message says what was expected and what was found.
        """
        text = text.strip() if self.type is not str else text
        if self.optional and text.lower() == "none":
            return None
        return self._check_choice(self._parse_text(text), text)

    def from_value(self, value: Any) -> Any:
        """Reads a value of this field as found in a TOML file, which has types of its own.

        An integer will do for a float; text is read as on the command line for a count, a path or `none`.

        Raises:
            ValueError: the value is of another type or not one of the choices.
        """
        if isinstance(value, str):
            if self.type is str or self.parse is not None or (self.optional and value.lower() == "none"):
                return self.from_text(value)
        elif value is None and self.optional:
            return None
        elif isinstance(value, bool):
            if self.type is bool:
                return value
        elif self.type is float and isinstance(value, int | float):
            return self._check_choice(float(value), value)
        elif self.type is int and isinstance(value, int):
            return self._check_choice(value, value)
        raise ValueError(f"expected {self.expected}, found {_describe(value)}")

    @property
    def expected(self) -> str:
        """What a value of this field looks like, for messages: `a whole number`."""
        if self.choices:
            return "one of " + ", ".join(str(choice) for choice in self.choices)
        if self.parse == "count":
            return "a whole number such as 300000, 512K, 10M or 2B"
        if self.parse == "auto":
            return f"{_NOUNS[self.type]} or auto"
        return _NOUNS[self.type]

    def to_text(self, value: Any) -> str:
        """Writes a value the way `from_text` reads it: 2000000000 of a count is `2B`."""
        if value is None:
            return "none"
        if isinstance(value, bool):
            return "true" if value else "false"
        if self.parse == "count" and isinstance(value, int):
            return format_count(value)
        return "auto" if self.parse == "auto" and value == 0 else str(value)

    def _parse_text(self, text: str) -> Any:
        if callable(self.parse):
            return self.parse(text)
        if self.parse == "path":
            return str(Path(text).expanduser())
        if self.type is bool:
            if text.lower() in _TRUE | _FALSE:
                return text.lower() in _TRUE
        elif self.parse == "count":
            return parse_count(text)
        elif self.parse == "auto" and text.lower() == "auto":
            return self.type(0)
        else:
            try:
                return self.type(text)
            except ValueError:
                pass
        raise ValueError(f"expected {self.expected}, found {text!r}")

    def _check_choice(self, value: Any, given: Any) -> Any:
        if self.choices and value not in self.choices:
            raise ValueError(f"expected {self.expected}, found {given!r}")
        return value


def option(
    default: Any,
    help: str,
    *,
    unit: str = "",
    flag: str | Sequence[str] | Literal[False] | None = None,
    choices: Sequence[Any] = (),
    parse: Parse | None = None,
    hidden: bool = False,
) -> Any:
    """Makes a dataclass field that is a command-line flag too.

    Args:
        default: the value of the field when no one gives another; `REQUIRED` for none.
        help: one sentence for help pages.
        unit: what a number counts, e.g. "tokens"; shown in help.
        flag: spelling(s) of the flag, by default `--` and the name with dashes; False keeps the field off the
            command line and still documents it.
        choices: the only values allowed.
        parse: "count" (sizes with suffix K, M, B, T), "path" (`~` is the home folder), "auto" (a number, or the
            word auto for 0), or a function of the text that raises ValueError.
        hidden: leave the flag out of help.
    """
    details = {
        "help": help,
        "unit": unit,
        "flag": flag,
        "choices": tuple(choices),
        "parse": parse,
        "hidden": hidden,
    }
    return dataclasses.field(default=default, metadata={_METADATA_KEY: details})


def options_of(cls: type) -> list[OptionSpec]:
    """The fields of a configuration that are command-line flags, in the order of the class."""
    return [spec for spec in settings_of(cls) if spec.flags]


def settings_of(cls: type) -> list[OptionSpec]:
    """Every field of a configuration that a file or the environment can set, in the order of the class.

    Raises:
        TypeError: a field made with `option()` has a type that no flag can have.
    """
    hints = get_type_hints(cls)
    specs = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        details = dict(field.metadata.get(_METADATA_KEY, {}))
        scalar = _scalar_type(hints[field.name])
        if scalar is None:
            if details:
                raise TypeError(f"{cls.__name__}.{field.name}: no flag can be of type {hints[field.name]}")
            continue
        kind, optional, literal_choices = scalar
        details["choices"] = details.get("choices") or literal_choices
        flags = _flags(field.name, details.pop("flag")) if field.metadata.get(_METADATA_KEY) else ()
        specs.append(
            OptionSpec(name=field.name, flags=flags, type=kind, optional=optional, default=field.default, **details)
        )
    return specs


def parse_count(text: str) -> int:
    """Reads a size: `512K`, `10M`, `2B`, `1.5B`, `1e9`, `300_000`; suffixes are powers of 1000.

    Raises:
        ValueError: not a number, or not a whole one.
    """
    digits = text.strip().replace("_", "")
    factor = _SUFFIXES.get(digits[-1:].upper(), 1)
    try:
        value = Decimal(digits[:-1] if factor > 1 else digits) * factor
        if value.adjusted() < 30 and value == value.to_integral_value():
            return int(value)
    except ArithmeticError:
        pass
    raise ValueError(f"expected a whole number such as 300000, 512K, 10M or 2B, found {text!r}")


def format_count(count: int) -> str:
    """Writes a size with the largest suffix that loses nothing: 2_000_000_000 -> `2B`, 1_500 -> `1500`."""
    for suffix, factor in reversed(_SUFFIXES.items()):
        if count and count % factor == 0:
            return f"{count // factor}{suffix}"
    return str(count)


def _flags(name: str, flag: str | Sequence[str] | Literal[False] | None) -> tuple[str, ...]:
    if flag is False:
        return ()
    if flag is None:
        return ("--" + name.replace("_", "-"),)
    return (flag,) if isinstance(flag, str) else tuple(flag)


def _scalar_type(hint: Any) -> tuple[type, bool, tuple[Any, ...]] | None:
    """(type, whether None is allowed, choices of a Literal), or None for a type that is no plain value."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    rest = [member for member in members if member is not type(None)]
    if len(rest) != 1:
        return None
    optional = len(members) > 1
    if get_origin(rest[0]) is Literal and all(isinstance(choice, str) for choice in get_args(rest[0])):
        return str, optional, get_args(rest[0])
    return (rest[0], optional, ()) if rest[0] in (str, int, float, bool) else None


def _describe(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return repr(value)
