"""Where an axis has its ticks, and what stands beside them."""

from __future__ import annotations

import math
from collections.abc import Callable

from nanochat.console.words import duration

_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

Label = Callable[[float, float], str]  # of a value, where neighbouring ticks are so far apart


def number_label(value: float, apart: float) -> str:
    """A number with the digits that tell it from its neighbour: 0.975, 31.1k."""
    if value == 0:
        return "0"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if max(abs(value), apart) >= 10 * limit:
            return _decimal(value / limit, apart / limit) + unit
    return _decimal(value, apart)


def size_label(value: float, apart: float) -> str:
    """Bytes, as `number_label`: 801.5 MB."""
    limit, unit = next(
        ((limit, unit) for limit, unit in ((1e9, "GB"), (1e6, "MB")) if abs(value) >= limit), (1e3, "kB")
    )
    return f"{_decimal(value / limit, apart / limit)} {unit}"


def time_label(value: float, apart: float) -> str:
    """Seconds as 12:03."""
    return duration(value)


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """Some `count` multiples of 1, 2 or 5 times a power of ten between two bounds, two at least."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [power * factor for factor in (10, 5, 2, 1, 0.5, 0.2)]
    wide_enough = [step for step in steps if step >= raw * (1 - 1e-9)]
    found: list[float] = []
    for step in [wide_enough[-1], *steps[len(wide_enough) :]]:
        found = _multiples(low, high, step)
        if len(found) > 1:
            break
    return found


def time_ticks(low: float, high: float, count: int) -> list[float]:
    """As `nice_ticks`, for seconds: whole minutes and hours."""
    raw = (high - low) / max(1, count)
    step = next((float(seconds) for seconds in _SECONDS if seconds >= raw), None)
    return nice_ticks(low, high, count) if step is None else _multiples(low, high, step)


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """1, 2 and 5 times powers of ten, or powers alone, as many as fit; `nice_ticks` where there is less than two."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        found = [value for power in powers for factor in factors if low <= (value := factor * 10.0**power) <= high]
        if 2 <= len(found) <= count + 1:
            return found
    if len(found) > 1:
        return found[:: -(-len(found) // (count + 1))]
    return [tick for tick in nice_ticks(low, high, count) if tick > 0]


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * i for i in range(first, last + 1)]


def _decimal(value: float, apart: float) -> str:
    digits = max(0, -math.floor(math.log10(apart) + 1e-9)) if apart > 0 else 0
    return f"{value:.{digits}f}" if digits < 7 else f"{value:.2g}"
