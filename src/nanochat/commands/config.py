"""`nanochat config show`: every setting, its value and where it came from."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from nanochat.commands.options import current_settings, emit_json, json_option
from nanochat.config.fields import REQUIRED, settings_of
from nanochat.config.load import Origin, closest, resolve
from nanochat.config.sections import GLOBAL, SECTIONS, section_class
from nanochat.errors import UsageError


def _complete_section(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(section) for section in SECTIONS if section.startswith(incomplete)]


@click.command()
@click.argument("section", required=False, shell_complete=_complete_section)
@json_option
def show(section: str | None, as_json: bool) -> None:
    """Show every setting, its value and its origin.

    SECTION is a table of the configuration file, such as train.base, or a group of them, such as train. Flags
    come first, then NANOCHAT_* variables, ./nanochat.toml, your own config.toml, and last the defaults.
    """
    sections = [name for name in SECTIONS if section is None or f"{name}.".startswith(f"{section}.")]
    if not sections:
        raise UsageError(f"no section {section!r}{closest(section or '', SECTIONS)}", "nanochat config show")
    settings = current_settings()
    resolved = {name: resolve(section_class(name), name, {}, settings) for name in sections}
    if as_json:
        emit_json(
            {
                "files": [path for path, _ in settings.files],
                "sections": {name: _as_json(*pair) for name, pair in resolved.items()},
            }
        )
        return
    for name, (values, origins) in resolved.items():
        click.echo("\n".join(_lines(name, values, origins)))


def _as_json(values: dict[str, Any], origins: dict[str, Origin]) -> dict[str, Any]:
    return {
        key: {"value": None if value is REQUIRED else value, "origin": origins[key]} for key, value in values.items()
    }


def _lines(section: str, values: dict[str, Any], origins: dict[str, Origin]) -> list[str]:
    """One aligned line for each setting under the table's name: `depth  12  default`."""
    specs = {spec.name: spec for spec in settings_of(section_class(section))}
    rows = [
        (key, "(required)" if value is REQUIRED else specs[key].to_text(value), str(origins[key]))
        for key, value in values.items()
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{key:<{widths[0]}}  {value:<{widths[1]}}  {origin}" for key, value, origin in rows]
    return lines if section == GLOBAL else [f"\n[{section}]", *lines]
