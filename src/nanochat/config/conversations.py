"""What mid and sft train on: `--data pocket,gsm8k:4,mine.jsonl:3`, or a file that says more: `--mixture my.toml`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nanochat.errors import MissingError, UsageError

POCKET = "pocket"
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Ingredient:
    """A part of a mixture: the pocket tasks, another task, or a file.

    Attributes:
        name: of the task, or of the file.
        times: how often each conversation is taken.
        weight: share of the mixture instead, in any unit.
        start: first conversation that is taken.
        stop: the one before which it ends; None is the end.
        step: every how many-th is taken.
    """

    name: str
    times: int = 1
    weight: float | None = None
    start: int = 0
    stop: int | None = None
    step: int = 1

    @property
    def is_pocket(self) -> bool:
        """Whether these are the built-in tasks."""
        return self.name == POCKET

    @property
    def path(self) -> Path:
        """Of a file; `~` is the home folder."""
        return Path(self.name).expanduser()


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A whole mixture.

    Attributes:
        parts: in the order of the file.
        conversations: of the whole, where parts have weights; 0 is the most that repeats none.
        order: shuffled, or one part after the other.
    """

    parts: tuple[Ingredient, ...]
    conversations: int = 0
    order: Literal["shuffled", "sequence"] = "shuffled"


PRESETS: dict[str, dict[str, tuple[Ingredient, ...]]] = {
    # the reference system's own: of 2026, and of October 2025
    "reference": {
        "mid": (
            Ingredient("smoltalk"),
            Ingredient("mmlu"),
            Ingredient("gsm8k"),
            Ingredient("simplespelling"),
            Ingredient("spellingbee"),
        ),
        "sft": (Ingredient("smoltalk"), Ingredient("mmlu", 3), Ingredient("gsm8k", 4)),
    },
    "classic": {
        "mid": (Ingredient("smoltalk"), Ingredient("mmlu"), Ingredient("gsm8k")),
        "sft": (
            Ingredient("arc_easy"),
            Ingredient("arc_challenge"),
            Ingredient("gsm8k"),
            Ingredient("smoltalk", stop=10_000),
        ),
    },
}


def parse_ingredients(text: str, setting: str = "data") -> tuple[Ingredient, ...]:
    """The parts of a mixture, separated by commas; `:3` behind one takes it three times.

    `pocket` means the built-in tasks; a file of that name is `./pocket`. A preset is one part here, see `expand`.

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


def expand(parts: tuple[Ingredient, ...], stage: str) -> tuple[Ingredient, ...]:
    """The same parts with presets replaced by what they stand for in a stage.

    Raises:
        UsageError: a part is named beside a preset that has it, or a preset several times.
    """
    expanded: list[Ingredient] = []
    for part in parts:
        if part.name not in PRESETS:
            expanded.append(part)
        elif part.times > 1:
            raise UsageError(f"data takes {part.name} {part.times} times", "--num-steps sets the length of a run")
        else:
            expanded += PRESETS[part.name][stage]
    names = [part.name for part in expanded]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise UsageError(f"data names {twice[0]} beside a preset that has it too", f"leave out {twice[0]}")
    return tuple(expanded)


def recipe_of(data: str, mixture: str, stage: str) -> Recipe:
    """The mixture of a stage, presets replaced by their parts.

    Args:
        data: as `--data` has it.
        mixture: file of one, which counts instead; "" for none.
        stage: mid or sft.

    Raises:
        MissingError, UsageError: it cannot be had, or cannot be.
    """
    if mixture:
        return read_recipe(Path(mixture).expanduser())
    return Recipe(parts=expand(parse_ingredients(data), stage))


def read_recipe(path: Path) -> Recipe:
    """The mixture of a TOML file.

    Raises:
        MissingError: no such file.
        UsageError: it is no TOML, or says something that cannot be; the message names the part.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingError(f"there is no file {path} (--mixture)", "docs/tasks.md shows one") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no TOML: {error}", "docs/tasks.md shows one") from None
    _known(values, {"parts": dict, "conversations": int, "order": str}, str(path))
    parts = tuple(_part(path, name, part) for name, part in values.get("parts", {}).items())
    if not parts:
        raise UsageError(f"{path} has no parts", "write [parts.smoltalk], or what else there is, each with a table")
    weighted = [part.name for part in parts if part.weight is not None]
    if weighted and len(weighted) < len(parts):
        other = next(part.name for part in parts if part.weight is None)
        raise UsageError(f"{path}: {weighted[0]} has a weight and {other} has none", "give all of them one, or none")
    if weighted and not sum(part.weight or 0 for part in parts):
        raise UsageError(f"{path}: all weights are 0", "give one part a weight above 0")
    total, order = values.get("conversations", 0), values.get("order", "shuffled")
    if total < 0 or (total and not weighted):
        raise UsageError(
            f"{path}: conversations ({total}) belongs to weights and is 0 or more", "use epochs or weights"
        )
    if order not in ("shuffled", "sequence"):
        raise UsageError(f"{path}: order is shuffled or sequence, not {order!r}", 'write order = "shuffled"')
    return Recipe(parts=parts, conversations=total, order=order)


def _part(path: Path, name: str, values: Any) -> Ingredient:
    where = f"{path}: parts.{name}"
    if not isinstance(values, dict):
        raise UsageError(f"{where} is no table", f"write [parts.{name}]")
    _known(values, {"epochs": int, "weight": float, "start": int, "stop": int, "step": int}, where)
    if "epochs" in values and "weight" in values:
        raise UsageError(f"{where} has epochs and a weight", "choose one of them")
    part = Ingredient(
        name,
        values.get("epochs", 1),
        float(values["weight"]) if "weight" in values else None,
        values.get("start", 0),
        values.get("stop"),
        values.get("step", 1),
    )
    for key, least, value in (("epochs", 1, part.times), ("step", 1, part.step), ("weight", 0, part.weight or 0)):
        if not least <= value < math.inf:
            raise UsageError(
                f"{where}: {key} ({value}) must be at least {least}, and a number", "mend it, or leave the part out"
            )
    if part.is_pocket and (slices := [key for key in ("start", "stop", "step") if key in values]):
        raise UsageError(
            f"{where} has {slices[0]}, but is made as long as --conversations says",
            f"leave {slices[0]} out, or name one of its tasks: [parts.facts]",
        )
    return part


def _known(values: Mapping[str, Any], kinds: Mapping[str, type], where: str) -> None:
    """Refuse what is unknown or of another type; a whole number will do for a weight."""
    for key, value in values.items():
        if key not in kinds:
            raise UsageError(f"{where} has an unknown key {key}", f"known: {', '.join(kinds)}")
        allowed = (int, float) if kinds[key] is float else kinds[key]
        if not isinstance(value, allowed) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} cannot be {value!r}", f"it is {_NOUNS[kinds[key]]}")


_NOUNS = {int: "a whole number", float: "a number", str: "text", dict: "a table"}
