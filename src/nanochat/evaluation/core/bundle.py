"""The CORE bundle: a folder with the tasks, their items, their chance levels, and what GPT-2 scores on them.

core.yaml             name, data file, number of examples shown, kind and delimiter of each task
eval_data/            the items, JSON lines
eval_meta_data.csv    chance levels in percent
openai-community-gpt2*.csv    published scores; absent ones are not shown
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from nanochat.errors import DamagedError, MissingError
from nanochat.runtime.files import translate_os_errors

Kind = Literal["multiple_choice", "schema", "language_modeling"]
Item = Mapping[str, Any]

CONFIG = "core.yaml"
CHANCES = "eval_meta_data.csv"
SHUFFLE_SEED = 1337
PUBLISHED = {
    "GPT-2 124M": "openai-community-gpt2.csv",
    "GPT-2 medium": "openai-community-gpt2-medium.csv",
    "GPT-2 large": "openai-community-gpt2-large.csv",
    "GPT-2 XL": "openai-community-gpt2-xl.csv",
}
"""Files of published scores by the model's name, smallest first."""

_TEXTS = {
    "multiple_choice": ("query", "choices"),
    "schema": ("continuation", "context_options"),
    "language_modeling": ("context", "continuation"),
}
_OPTIONS = {"multiple_choice": "choices", "schema": "context_options"}
_HINT = "unpack the bundle again; a downloaded one comes anew when its folder is deleted"


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreTask:
    """One task. `shots` are the solved examples shown before each question, `sha256` is that of the data file."""

    name: str
    kind: Kind
    shots: int
    delimiter: str
    chance: float
    sha256: str
    items: tuple[Item, ...]

    def drawn(self, at_most: int) -> tuple[Item, ...]:
        """The items that are asked: shuffled, always alike, then cut to `at_most`; 0 takes all."""
        items = list(self.items)
        random.Random(SHUFFLE_SEED).shuffle(items)
        return tuple(items[:at_most] if at_most else items)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """The tasks in their order, and the centred scores of published models by task, with "CORE"."""

    folder: Path
    tasks: tuple[CoreTask, ...]
    published: Mapping[str, Mapping[str, float]]

    @property
    def sha256(self) -> str:
        """Stands for all data and the way it is asked."""
        lines = [f"{t.name} {t.kind} {t.shots} {t.delimiter!r} {t.chance} {t.sha256}" for t in self.tasks]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def open_bundle(folder: Path) -> Bundle:
    """Read and check all of it.

    Raises:
        MissingError: no bundle in the folder, or a file of it is not there.
        DamagedError: a file is not what it should be; named with its line.
        StorageError: a file cannot be read.
    """
    entries = _entries(folder / CONFIG)
    chances = _chances(folder / CHANCES)
    tasks = tuple(_task(folder, entry, chances) for entry in entries)
    published = {
        model: scores for model, name in PUBLISHED.items() if (scores := _published(folder / name)) is not None
    }
    return Bundle(folder=folder, tasks=tasks, published=published)


def _entries(path: Path) -> list[dict[str, Any]]:
    import yaml

    try:
        entries = yaml.safe_load(_read(path))["icl_tasks"]
        return [dict(entry) for entry in entries]
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, ValueError):
        raise DamagedError(f"{path} is no list of tasks", _HINT) from None


def _task(folder: Path, entry: Mapping[str, Any], chances: Mapping[str, float]) -> CoreTask:
    try:
        name, kind = str(entry["label"]), str(entry["icl_task_type"])
        shots = int(entry["num_fewshot"][0])
        path = folder / "eval_data" / str(entry["dataset_uri"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DamagedError(f"{folder / CONFIG}: a task is not described as it should be ({error})", _HINT) from None
    if kind not in get_args(Kind):
        raise DamagedError(f"{folder / CONFIG}: {name} is of an unknown kind, {kind!r}", _HINT)
    if name not in chances:
        raise DamagedError(f"{folder / CHANCES} has no chance level for {name}", _HINT)
    data = _read(path)
    return CoreTask(
        name=name,
        kind=cast("Kind", kind),
        shots=shots,
        delimiter=str(entry.get("continuation_delimiter", " ")),
        chance=chances[name],
        sha256=hashlib.sha256(data).hexdigest(),
        items=_items(path, data, kind),
    )


def _items(path: Path, data: bytes, kind: str) -> tuple[Item, ...]:
    items = []
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            problem = _problem(item, kind)
        except (ValueError, TypeError, KeyError) as error:
            problem = str(error)
        if problem:
            raise DamagedError(f"{path}:{number} is no item of {kind.replace('_', ' ')} ({problem})", _HINT)
        items.append(item)
    if not items:
        raise DamagedError(f"{path} holds no items", _HINT)
    return tuple(items)


def _problem(item: Any, kind: str) -> str:
    """What is wrong with an item, "" for nothing."""
    first, second = (item[name] for name in _TEXTS[kind])
    if kind == "language_modeling":
        return "" if isinstance(first, str) and isinstance(second, str) else "context and continuation must be text"
    if not isinstance(first, str) or not all(isinstance(option, str) for option in second) or len(second) < 2:
        return "it needs text and at least two options"
    gold = item["gold"]
    return "" if isinstance(gold, int) and 0 <= gold < len(second) else f"gold is {gold!r}"


def options_of(item: Item, kind: Kind) -> Sequence[str]:
    """What there is to choose from; nothing in language modelling."""
    return item[_OPTIONS[kind]] if kind in _OPTIONS else ()


def _chances(path: Path) -> dict[str, float]:
    try:
        rows = csv.DictReader(io.StringIO(_read(path).decode()))
        return {row["Eval Task"]: float(row["Random baseline"]) / 100 for row in rows}
    except (UnicodeDecodeError, KeyError, TypeError, ValueError, csv.Error):
        raise DamagedError(f"{path} has no chance levels", _HINT) from None


def _published(path: Path) -> dict[str, float] | None:
    """Centred scores by task; None where the file is not there."""
    if not path.is_file():
        return None
    try:
        rows = csv.DictReader(io.StringIO(_read(path).decode()), skipinitialspace=True)
        cells = [{key.strip(): value.strip() for key, value in row.items()} for row in rows]
        return {row["Task"]: float(row["Centered"]) for row in cells}
    except (UnicodeDecodeError, KeyError, AttributeError, ValueError, csv.Error):
        raise DamagedError(f"{path} is no table of scores", _HINT) from None


def _read(path: Path) -> bytes:
    with translate_os_errors(path):
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise MissingError(f"there is no {path.name} in {path.parent}", _HINT) from None
