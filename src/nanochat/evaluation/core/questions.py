"""From an item to rows of ids: the examples shown before it, the text of each option, and what of it is scored.

A question is one row for each option (in language modelling one in all), ids with the bos before them, and where in
each row begins what is scored; it always ends with the row.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nanochat.evaluation.core.bundle import CoreTask, Item, Kind

SHOTS_SEED = 1234  # that of item i is this and i


class Encoder(Protocol):
    """What turns text into ids; `nanochat.tokenizer.Tokenizer` is one."""

    bos: int

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, never special ones."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """Ids of which those from `start` on (at least 1, and before the end) are scored."""

    ids: list[int]
    start: int


@dataclass(frozen=True, slots=True)
class Question:
    """A row for each option."""

    rows: tuple[Row, ...]


def questions(task: CoreTask, items: Sequence[Item], numbers: Sequence[int], encoder: Encoder) -> list[Question]:
    """The questions that the items of these numbers are; all texts are encoded in one call."""
    texts = [prompts(task, items, number) for number in numbers]
    ids = iter(encoder.encode_batch([text for group in texts for text in group]))
    return [question([[encoder.bos, *row] for row in itertools.islice(ids, len(group))], task.kind) for group in texts]


def prompts(task: CoreTask, items: Sequence[Item], number: int) -> list[str]:
    """The whole text of each option of one item; in language modelling without and with the continuation.

    Args:
        task: says how it is asked.
        items: all that are asked, from which the examples come too.
        number: of the item.
    """
    item, delimiter = items[number], task.delimiter
    before = "".join(f"{_solved(shot, task)}\n\n" for shot in shots(items, number, task.shots))
    if task.kind == "multiple_choice":
        return [f"{before}{item['query']}{delimiter}{choice}" for choice in item["choices"]]
    if task.kind == "schema":
        return [f"{before}{context}{delimiter}{item['continuation']}" for context in item["context_options"]]
    asked = f"{before}{item['context'].strip()}{delimiter}"
    return [asked.strip(), asked + item["continuation"]]


def shots(items: Sequence[Item], number: int, count: int) -> list[Item]:
    """The examples shown before an item: a sample of the others, or all of them where they are fewer than `count`."""
    if not count:
        return []
    others = [*range(number), *range(number + 1, len(items))]
    return [items[at] for at in random.Random(SHOTS_SEED + number).sample(others, min(count, len(others)))]


def question(rows: Sequence[list[int]], kind: Kind) -> Question:
    """What is scored of these rows.

    In multiple choice that is what follows their common beginning, in a schema their common end, in language
    modelling (the rows are without and with the continuation) what the second has more than the first. Every row
    keeps at least one scored token, also where an option is the beginning of another.
    """
    if kind == "schema":
        common = _common([row[::-1] for row in rows])
        return Question(tuple(Row(row, max(1, len(row) - max(1, common))) for row in rows))
    start = min(_common(rows), min(map(len, rows)) - 1) if kind == "multiple_choice" else _common(rows)
    if kind == "language_modeling":
        rows = rows[1:]
        start = min(start, len(rows[0]) - 1)
    return Question(tuple(Row(row, max(1, start)) for row in rows))


def _solved(item: Item, task: CoreTask) -> str:
    if task.kind == "multiple_choice":
        return f"{item['query']}{task.delimiter}{item['choices'][item['gold']]}"
    if task.kind == "schema":
        return f"{item['context_options'][item['gold']]}{task.delimiter}{item['continuation']}"
    return f"{item['context'].strip()}{task.delimiter}{item['continuation']}"


def _common(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all of them begin with."""
    count = 0
    for column in zip(*rows, strict=False):
        if any(token != column[0] for token in column):
            break
        count += 1
    return count
