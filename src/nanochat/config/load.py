"""Fills a configuration from flags, environment and files, and remembers where each value came from.

Precedence: flags > the file of `--config` > `NANOCHAT_*` variables > `./nanochat.toml` > the user's `config.toml` >
preset > defaults.

    # nanochat.toml                       the same in the environment
    base_dir = "/data/nanochat"           NANOCHAT_BASE_DIR=/data/nanochat
    [train.base]
    depth = 12                            NANOCHAT_TRAIN_BASE_DEPTH=12

A misspelt table, key or variable is an error, never ignored: a run that silently took a default costs hours.
Tables are checked when the files are read, keys when their section is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from nanochat.config.fields import REQUIRED, OptionSpec, settings_of
from nanochat.config.sections import GLOBAL, SECTIONS
from nanochat.errors import StorageError, UsageError

T = TypeVar("T")

PROJECT_FILE = "nanochat.toml"
ENV_PREFIX = "NANOCHAT_"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from; `name` is the flag, the variable, the path of the file, or the preset."""

    kind: Literal["flag", "environment", "file", "preset", "default"]
    name: str = ""

    def __str__(self) -> str:
        return {"preset": f"preset {self.name}", "default": "default"}.get(self.kind, self.name)


@dataclass(frozen=True, slots=True)
class Preset:
    """Values that stand in for defaults under one name, such as those of `speedrun pocket`."""

    name: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Resolved(Generic[T]):
    """A configuration and the origin of each of its values, by field name."""

    value: T
    origins: dict[str, Origin]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment and the configuration files say, read once per process.

    Attributes:
        environ: the `NANOCHAT_*` variables that are not empty.
        files: (path, top-level table) of the files that exist, the one that wins first.
        chosen: (path, table of one section) of the file that the command line names, which wins over all others.
    """

    environ: dict[str, str] = field(default_factory=dict)
    files: tuple[tuple[Path, dict[str, Any]], ...] = ()
    chosen: tuple[Path, dict[str, Any]] | None = None

    @staticmethod
    def read(cwd: Path, environ: Mapping[str, str], *, user_file: Path | None = None) -> Settings:
        """Reads `cwd/nanochat.toml` and the user's file, where they exist.

        Args:
            cwd: folder in which to look for `nanochat.toml`.
            environ: environment variables; those of others are left alone.
            user_file: the user's file, by default `config.toml` in the platform's configuration folder.

        Raises:
            UsageError: a file is not TOML or has a table that is no section, or a variable looks like that of
                a section and is none.
            StorageError: a file exists and cannot be read.
        """
        paths = (cwd / PROJECT_FILE, user_file or user_config_file())
        files = tuple((path, table) for path in paths if (table := _read_toml(path)) is not None)
        for path, table in files:
            _check_tables(path, table)
        ours = {name: text for name, text in environ.items() if name.startswith(ENV_PREFIX) and text}
        _check_variables(ours)
        return Settings(environ=ours, files=files)

    def with_file(self, path: Path, section: str) -> Settings:
        """These settings and a file that was named for one section, as `--config` does.

        Its keys stand in the section's own table, as in `nanochat.toml`, or outside of any table; tables of other
        sections are left alone.

        Raises:
            UsageError: no such file, not TOML, or a table that is no section.
            StorageError: the file cannot be read.
        """
        table = _read_toml(path)
        if table is None:
            raise UsageError(f"there is no file {path}", "--config FILE names a TOML file")
        _check_tables(path, table)
        return replace(self, chosen=(path, {**_table(table, GLOBAL), **_table(table, section)}))


def user_config_file() -> Path:
    """The user's own configuration file, `~/.config/nanochat/config.toml` on Linux."""
    import platformdirs  # 7 ms, and only here

    return Path(platformdirs.user_config_dir("nanochat", appauthor=False)) / "config.toml"


def variable(section: str, name: str = "") -> str:
    """The environment variable of a setting: `("train.base", "depth")` -> `NANOCHAT_TRAIN_BASE_DEPTH`."""
    parts = [] if section == GLOBAL else section.split(".")
    return ENV_PREFIX + "_".join([*parts, name]).upper()


def build(
    cls: type[T], section: str, flags: Mapping[str, Any], settings: Settings, *, preset: Preset | None = None
) -> Resolved[T]:
    """Makes the configuration of a section.

    Args:
        cls: the dataclass; its own checks run last.
        section: name of the section, e.g. "train.base".
        flags: values given on the command line, by field name; one that was not given is left out.
        settings: environment and files.
        preset: values that replace defaults and give way to everything else.

    Raises:
        UsageError: an unknown key, a value of another type, a required value that no one gave, or values that
            the class refuses. The message names the key and the file.
    """
    values, origins = resolve(cls, section, flags, settings, preset=preset)
    for spec in settings_of(cls):
        if values[spec.name] is REQUIRED:
            raise UsageError(f"{spec.name} is not given", f"add {spec.flags[0]}" if spec.flags else "")
    try:
        return Resolved(cls(**values), origins)
    except UsageError as error:
        raise UsageError(error.message, _with_origins(error, values, origins)) from None


def resolve(
    cls: type, section: str, flags: Mapping[str, Any], settings: Settings, *, preset: Preset | None = None
) -> tuple[dict[str, Any], dict[str, Origin]]:
    """The values of a section and their origins, by field name, before the class checks them as a whole.

    A required value that no one gave is `REQUIRED`. Raises as `build`.
    """
    specs = {spec.name: spec for spec in settings_of(cls)}
    tables = [(path, _table(table, section)) for path, table in settings.files]
    chosen = [settings.chosen] if settings.chosen else []
    for path, table in [*chosen, *tables]:
        _check_keys(path, section, table, specs)
    _check_section_variables(section, settings.environ, specs)

    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for name, spec in specs.items():
        values[name], origins[name] = _resolve_one(spec, section, flags, settings.environ, chosen, tables, preset)
    return values, origins


def _resolve_one(
    spec: OptionSpec,
    section: str,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    chosen: Iterable[tuple[Path, Mapping[str, Any]]],
    tables: Iterable[tuple[Path, Mapping[str, Any]]],
    preset: Preset | None,
) -> tuple[Any, Origin]:
    name = spec.name
    if name in flags:
        return flags[name], Origin("flag", spec.flags[0] if spec.flags else name)
    for path, table in chosen:
        if name in table:
            return _from_file(spec, section, path, table[name])
    env = variable(section, name)
    if env in environ:
        try:
            return spec.from_text(environ[env]), Origin("environment", env)
        except ValueError as error:
            raise UsageError(f"{env}: {error}", f"set {env} to another value, or unset it") from None
    for path, table in tables:
        if name in table:
            return _from_file(spec, section, path, table[name])
    if preset is not None and name in preset.values:
        return preset.values[name], Origin("preset", preset.name)
    return spec.default, Origin("default")


def _from_file(spec: OptionSpec, section: str, path: Path, given: Any) -> tuple[Any, Origin]:
    try:
        value = spec.from_value(given)
    except ValueError as error:
        raise UsageError(f"{path}: {_dotted(section, spec.name)}: {error}", f"edit {path}") from None
    if spec.parse == "path" and value is not None:
        value = str(path.parent / value)  # a path in a file is relative to that file
    return value, Origin("file", str(path))


def _read_toml(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}", f"make {path} readable") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", f"save {path} as UTF-8") from None

    import tomllib  # 3 ms, only where there is a file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", f"edit {path}") from None


def _check_tables(path: Path, table: Mapping[str, Any], parents: tuple[str, ...] = ()) -> None:
    """Every table is a section or leads to one; only sections hold values."""
    for key, value in table.items():
        name = ".".join((*parents, key))
        if isinstance(value, dict):
            leads_to = [section for section in SECTIONS if (section + ".").startswith(name + ".")]
            if not leads_to or name == GLOBAL:
                raise UsageError(
                    f"{path}: unknown table [{name}]{closest(name, _tables(), '[{}]')}",
                    "nanochat config show" if name != GLOBAL else "put these keys above the first table",
                )
            _check_tables(path, value, (*parents, key))
        elif parents and ".".join(parents) not in SECTIONS:
            group = ".".join(parents)
            inside = [section for section in SECTIONS if section.startswith(group + ".")]
            raise UsageError(
                f"{path}: [{group}] has no key {key!r} of its own",
                "its tables are " + ", ".join(f"[{section}]" for section in inside),
            )


def _check_keys(path: Path, section: str, table: Mapping[str, Any], specs: Mapping[str, OptionSpec]) -> None:
    for key in table:
        if key not in specs:
            raise UsageError(
                f"{path}: unknown key {_dotted(section, key)}{closest(key, specs)}",
                f"nanochat config show{'' if section == GLOBAL else ' ' + section}",
            )


def _check_variables(environ: Mapping[str, str]) -> None:
    """Refuses `NANOCHAT_TRAIN_BSAE_DEPTH`; leaves alone what belongs to no section or group of sections."""
    groups = {ENV_PREFIX + section.split(".")[0].upper() + "_" for section in _tables() if "." in section}
    for name in environ:
        in_section = any(name.startswith(variable(section)) for section in _tables())
        if not in_section and any(name.startswith(group) for group in groups):
            prefixes = [variable(section) + "*" for section in _tables()]
            raise UsageError(f"unknown environment variable {name}{closest(name, prefixes)}", "nanochat config show")


def _check_section_variables(section: str, environ: Mapping[str, str], specs: Mapping[str, OptionSpec]) -> None:
    known = [variable(section, name) for name in specs]
    for name in environ:
        if name in known:
            continue
        if section == GLOBAL:
            # Any name may be another program's, so only a near miss counts.
            wrong = bool(closest(name, known, cutoff=0.9))
        else:
            owners = [other for other in _tables() if name.startswith(variable(other))]
            wrong = section in owners and section == max(owners, key=len)
        if wrong:
            raise UsageError(
                f"unknown environment variable {name}{closest(name, known)}",
                f"nanochat config show{'' if section == GLOBAL else ' ' + section}",
            )


def closest(word: str, possible: Iterable[str], form: str = "{}", cutoff: float = 0.6) -> str:
    """`; did you mean depth?` for the nearest of some names, or "" when none is near."""
    import difflib

    matches = difflib.get_close_matches(word, list(possible), n=1, cutoff=cutoff)
    return f"; did you mean {form.format(matches[0])}?" if matches else ""


def _tables() -> list[str]:
    return [section for section in SECTIONS if section != GLOBAL]


def _table(table: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The values of a section, without the tables below it."""
    for key in [] if section == GLOBAL else section.split("."):
        table = table.get(key, {})
    return {key: value for key, value in table.items() if not isinstance(value, dict)}


def _dotted(section: str, key: str) -> str:
    return key if section == GLOBAL else f"{section}.{key}"


def _with_origins(error: UsageError, values: Mapping[str, Any], origins: Mapping[str, Origin]) -> str:
    """The hint of an error, and where the values in it were set if that was out of sight."""
    words = {word.strip("(),;:=`'\"") for word in error.message.split()}
    unseen = [
        f"{name} = {values[name]} comes from {origin}"
        for name, origin in origins.items()
        if origin.kind in ("environment", "file") and name in words
    ]
    return "; ".join(filter(None, [error.hint, *unseen]))
