"""What an answer is paid for in reinforcement learning, as it is written behind `--reward`: `exact,length:0.2`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from nanochat.errors import UsageError

BUILT_IN = {
    "exact": "what the task pays: 1 for a right answer",
    "format": "1 for an answer that ends by itself and closes its tool calls, else 0",
    "length": "the share of --max-tokens that the answer leaves unused",
}
FUNCTION = "reward"
"""Name of the function that a file must define, unless `file.py:name` says another."""


@dataclass(frozen=True, slots=True)
class RewardPart:
    """One of the things that are paid for.

    Attributes:
        name: as it was written: one of `BUILT_IN`, or a Python file.
        weight: what it is multiplied with.
        function: of a file; "" for the built-in ones.
    """

    name: str
    weight: float = 1.0
    function: str = ""

    @property
    def path(self) -> Path:
        """Of a file; `~` is the home folder."""
        return Path(self.name).expanduser()


def parse_rewards(text: str) -> tuple[RewardPart, ...]:
    """The parts of a reward, separated by commas, each with its weight behind a colon.

    Raises:
        UsageError: nothing there, a part twice, or one that is neither built in nor a Python file.
    """
    parts: list[RewardPart] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, *rest = word.split(":")
        weight = _number(rest[-1]) if rest else None
        if weight is not None:
            rest.pop()
        is_file = name.endswith(".py")
        if len(rest) > 1 or (rest and not (is_file and rest[0].isidentifier())):
            raise UsageError(f"reward does not understand {word!r}", "try --reward exact,format:0.1")
        if not is_file and name not in BUILT_IN:
            raise UsageError(f"there is no reward {name!r}", f"take {', '.join(BUILT_IN)}, or a file such as mine.py")
        part = RewardPart(name, 1.0 if weight is None else weight, (rest or [FUNCTION])[0] if is_file else "")
        if (part.name, part.function) in ((other.name, other.function) for other in parts):
            raise UsageError(f"reward names {part.name} twice", f"give it one weight: {part.name}:2")
        parts.append(part)
    if not parts:
        raise UsageError("reward names nothing", "try --reward exact")
    return tuple(parts)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
