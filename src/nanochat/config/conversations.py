"""What mid and sft train on, as it is written behind `--data`: `pocket,mine.jsonl:3`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nanochat.errors import UsageError

POCKET = "pocket"


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A part of a mixture: the pocket tasks, or a file, so many times over."""

    name: str
    times: int = 1

    @property
    def is_pocket(self) -> bool:
        """Whether these are the built-in tasks."""
        return self.name == POCKET

    @property
    def path(self) -> Path:
        """Of a file; `~` is the home folder."""
        return Path(self.name).expanduser()


def parse_ingredients(text: str, setting: str = "data") -> tuple[Ingredient, ...]:
    """The parts of a mixture, separated by commas; `:3` behind one takes it three times.

    `pocket` means the built-in tasks; a file of that name is `./pocket`.

    Raises:
        UsageError: nothing there, a part twice, or zero times.
    """
    parts: list[Ingredient] = []
    for word in filter(None, (word.strip() for word in text.split(","))):
        name, colon, times = word.rpartition(":")
        part = Ingredient(name, int(times)) if colon and name and times.isdecimal() else Ingredient(word)
        if part.times < 1:
            raise UsageError(f"{setting} takes {part.name} {part.times} times", "leave it out, or take it once or more")
        if part.name in (other.name for other in parts):
            raise UsageError(f"{setting} names {part.name} twice", f"say how often: {part.name}:2")
        parts.append(part)
    if not parts:
        raise UsageError(f"{setting} names nothing", "try --data pocket, or --data pocket,mine.jsonl:3")
    return tuple(parts)
