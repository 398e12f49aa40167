"""Bounds of a dial: the same words for every one that is beyond them, and an option that would do."""

from __future__ import annotations

import math
from typing import Any

from nanochat.errors import UsageError


def at_least(config: Any, name: str, least: int, example: str) -> None:
    """See that a dial is no lower; None is.

    Raises:
        UsageError: it is lower.
    """
    value = getattr(config, name)
    if value is not None and value < least:
        raise UsageError(f"{name} ({value}) must be at least {least}", f"try {_flag(name)} {example}")


def above_zero(config: Any, name: str, example: str) -> None:
    """See that a dial is a number above 0, or None.

    Raises:
        UsageError: it is not.
    """
    value = getattr(config, name)
    if value is not None and not 0 < value < math.inf:
        raise UsageError(f"{name} ({value}) must be above 0", f"try {_flag(name)} {example}")


def not_negative(config: Any, *names: str) -> None:
    """See that dials are numbers from 0 on, or None.

    Raises:
        UsageError: one is not.
    """
    for name in names:
        if not 0 <= (getattr(config, name) or 0) < math.inf:
            raise UsageError(f"{name} ({getattr(config, name)}) must be 0 or more", f"leave out {_flag(name)}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
