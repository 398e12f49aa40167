"""Several things by weight, in one line of text: `fineweb-edu:0.9,mine:0.1`."""

from __future__ import annotations

import math

from nanochat.errors import UsageError


def parse_mixture(text: str, example: str = "fineweb-edu:0.9,mine:0.1") -> tuple[tuple[str, float], ...]:
    """Names with their shares, which add up to 1. A name without a weight has the weight 1.

    Raises:
        UsageError: a weight that is no positive number, no name, or a name twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, weight = part.strip().partition(":")
        value = _weight(weight) if colon else 1.0
        if not name or value is None:
            raise UsageError(f"{part.strip()!r} in {text!r} is not a name or a name and a weight", f"try {example}")
        if name in weights:
            raise UsageError(
                f"{name!r} comes twice in {text!r}", f"give it once, with the sum of its weights: {example}"
            )
        weights[name] = value
    total = sum(weights.values())
    return tuple((name, value / total) for name, value in weights.items())


def _weight(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
