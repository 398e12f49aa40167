"""CORE in the report: a table of tasks by stage, with what GPT-2 scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Record = Mapping[str, Any]


def core_table(kept: Mapping[str, Record]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, the last of which is CORE itself; no rows where it has not been measured.

    Args:
        kept: by stage, what `eval/core.json` holds; whatever cannot be read is left out.
    """
    stages = {stage: record for stage, record in kept.items() if _mapping(_mapping(record, "core"), "tasks")}
    if not stages:
        return [], []
    published: dict[str, Record] = {}
    for record in stages.values():
        published |= {name: scores for name, scores in _mapping(record, "published").items() if _is_record(scores)}
    names = list(dict.fromkeys(name for record in stages.values() for name in _tasks(record)))
    header = ["task", "chance", *(_column(stage, record) for stage, record in stages.items()), *published]

    def chances(name: str) -> Iterator[Any]:
        return (_mapping(_tasks(record), name).get("chance") for record in stages.values())

    rows = [
        [
            name,
            _share(next((chance for chance in chances(name) if chance is not None), None)),
            *(_cell(_mapping(_tasks(record), name)) for record in stages.values()),
            *(_decimal(scores.get(name)) for scores in published.values()),
        ]
        for name in names
    ]
    cores = [_mapping(record, "core") for record in stages.values()]
    rows.append(
        [
            "CORE",
            "",
            *(f"{_decimal(core.get('value'), 4)}{_between(core)}" for core in cores),
            *(_decimal(scores.get("CORE"), 4) for scores in published.values()),
        ]
    )
    return header, rows


def _column(stage: str, record: Record) -> str:
    step = record.get("step")
    return f"{stage}, step {step:,}" if isinstance(step, int) else stage


def _tasks(record: Record) -> Record:
    return _mapping(_mapping(record, "core"), "tasks")


def _cell(task: Record) -> str:
    n = task.get("n")
    return f"{_decimal(task.get('centred'))}, n={n:,}" if isinstance(n, int) else _decimal(task.get("centred"))


def _between(core: Record) -> str:
    low, high = _decimal(core.get("low")), _decimal(core.get("high"))
    return "" if "-" in (low, high) else f" ({low} to {high})"


def _share(value: Any) -> str:
    return f"{value:.0%}" if _is_number(value) else "-"


def _decimal(value: Any, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if _is_number(value) else "-"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_record(value: Any) -> bool:
    return isinstance(value, Mapping)


def _mapping(record: Record, key: str) -> Record:
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}
