"""From lines of `events.jsonl` to the events they were, with the time they carry.

A file may come from another version, another program or a broken disk. So a value of a wrong kind is as if it were
not there, and an event without what it needs is no event.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nanochat.runtime.events import (
    BetweenSteps,
    CheckpointSaved,
    Evaluated,
    Event,
    Notice,
    RolloutsDone,
    Sampled,
    StageFinished,
    StageStarted,
    StepDone,
)

_GREATEST = 2**53  # whole numbers that JSON carries exactly
_LATEST = 1e11  # unix seconds, in the year 5138
_TEXT_CHARS = 20_000  # of a text that is kept: a sample has hundreds
_KINDS: tuple[type[Event], ...] = (
    *(StageStarted, StepDone, RolloutsDone, BetweenSteps, Evaluated),
    *(CheckpointSaved, Sampled, Notice, StageFinished),
)


class _Wrong(Exception):
    """The value is of another kind."""


def decode(lines: Iterable[bytes], kind: str = "") -> list[tuple[float | None, Event]]:
    """The events of these lines with their unix seconds; what is none is passed over.

    Args:
        lines: JSON objects, as bytes.
        kind: of the lines that do not say it.
    """
    found = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and (event := to_event({"event": kind, **record} if kind else record)):
            found.append((_time(record.get("time")), event))
    return found


def to_event(record: Mapping[str, Any]) -> Event | None:
    """The event of a record; None for an unknown one, or one that lacks what it needs."""
    plan = _PLANS.get(str(record.get("event")))
    if plan is None:
        return None
    kind, converters, stand_ins = plan
    values = dict(stand_ins)
    for name, convert, needed in converters:
        try:
            values[name] = convert(record[name])
        except (KeyError, _Wrong):
            if needed:
                return None
    return kind(**values)


def _number(value: Any) -> float:
    """A number as it is; null is what stands for NaN in a log."""
    if type(value) is float:
        return value
    if value is None:
        return math.nan
    return float(_whole(value))


def _finite(value: Any) -> float:
    number = _number(value)
    if math.isfinite(number):
        return number
    raise _Wrong


def _time(value: Any) -> float | None:
    """Unix seconds; None where no calendar has them."""
    return value if type(value) in (int, float) and 0 <= value < _LATEST else None


def _whole(value: Any) -> int:
    if type(value) is int and -_GREATEST <= value <= _GREATEST:
        return value
    if type(value) is float and value.is_integer():
        return _whole(int(value))
    raise _Wrong


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value[:_TEXT_CHARS]
    raise _Wrong


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _Wrong


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise _Wrong


def _schedule(value: Any) -> Mapping[str, int]:
    return {str(name): int(every) for name, every in _mapping(value).items() if type(every) is int and every >= 0}


def _optional(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def converted(value: Any) -> Any:
        try:
            return convert(value)
        except _Wrong:
            return None

    return converted


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _whole,
    "float": _number,
    "bool": _bool,
    "int | None": _optional(_whole),
    "float | None": _optional(_finite),
    "Mapping[str, Any]": _mapping,
    "Mapping[str, int]": _schedule,
}
_FINITE = ("elapsed_s", "seconds")  # of other numbers NaN says that there is none
# what can be absent without harm although the event itself demands it: old logs have not all of it
_STAND_INS: Mapping[str, Any] = {"stage": "", "tag": "", "lr_multiplier": math.nan, "tokens_per_s": math.nan}


def _plan(
    kind: type[Event],
) -> tuple[Callable[..., Event], list[tuple[str, Callable[[Any], Any], bool]], dict[str, Any]]:
    """How to make one kind of event: name, converter and need of each field, and what stands in for absent ones."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    stand_ins = {field.name: _STAND_INS[field.name] for field in fields if field.name in _STAND_INS}
    converters = [
        (
            field.name,
            _finite if field.name in _FINITE else _CONVERTERS[str(field.type)],
            field.name not in stand_ins and field.default is missing and field.default_factory is missing,
        )
        for field in fields
    ]
    return kind, converters, stand_ins


_PLANS = {kind.__name__: _plan(kind) for kind in _KINDS}
