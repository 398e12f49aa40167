"""Which column of a file holds the documents: the one asked for, else `text`, else the only one with strings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nanochat.errors import UsageError

TEXT = "text"


def choose_column(path: Path, columns: Mapping[str, bool], wanted: str) -> str:
    """The column with the documents.

    Args:
        path: of the file, for messages.
        columns: those that the file has, and whether they hold strings.
        wanted: asked for by name; "" for none.

    Raises:
        UsageError: it is not there, or there is a choice.
    """
    if wanted:
        if wanted not in columns:
            raise UsageError(f"{path} has no column {wanted!r}", f"it has: {_listed(columns)}; name one with --column")
        return wanted
    if columns.get(TEXT):
        return TEXT
    strings = [name for name, holds_strings in columns.items() if holds_strings]
    if len(strings) == 1:
        return strings[0]
    what = "several columns with text but none named text" if strings else "no column with text"
    raise UsageError(f"{path} has {what}", f"it has: {_listed(strings or columns)}; name one with --column")


def columns_of_rows(rows: Iterable[Any]) -> dict[str, bool]:
    """Names in the objects among some rows of JSON, and whether strings are found there."""
    columns: dict[str, bool] = {}
    for row in rows:
        for name, value in row.items() if isinstance(row, dict) else ():
            columns[name] = columns.get(name, False) or isinstance(value, str)
    return columns


def columns_of_table(header: list[str], rows: Iterable[list[str]]) -> dict[str, bool]:
    """Names of the columns of a CSV file, and whether something in them is no number."""
    columns = dict.fromkeys(header, False)
    empty = True
    for row in rows:
        empty = False
        for name, value in zip(header, row, strict=False):
            columns[name] = columns[name] or not _is_number(value)
    return dict.fromkeys(header, True) if empty else columns


def _is_number(value: str) -> bool:
    try:
        float(value or 0)
    except ValueError:
        return value.lower() in ("true", "false")
    return True


def _listed(names: Iterable[str], limit: int = 20) -> str:
    shown = [str(name) for name in names]
    more = f" and {len(shown) - limit} more" if len(shown) > limit else ""
    return (", ".join(shown[:limit]) or "none") + more
