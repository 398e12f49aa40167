"""What training never sees: number pairs, words and choice combinations, told apart by their CRC-32.

There are two held-out parts: `val` for choosing a recipe and `test` for its score.

A pair is held out in both orders and for every operation. A word is held out when its checksum says so and no
template or table uses it; the made-up words of training avoid every held-out checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any, Literal
from zlib import crc32

from nanochat.pocket import facts, numerals, phrases, wordings
from nanochat.pocket.words import WORDS

_ONE_IN_PAIRS = 10
_ONE_IN_WORDS = 6
_ONE_IN_COMBINATIONS = 8
MAX_NUMBER = 99
"""Operands of arithmetic run from 0 to this."""


Split = Literal["train", "val", "test"]


def _part(text: str, one_in: int) -> Split:
    match crc32(text.encode()) % one_in:
        case 0:
            return "test"
        case 1:
            return "val"
    return "train"


@cache
def split_of_pair(a: int, b: int) -> Split:
    """Where arithmetic on these two numbers, in either order, belongs."""
    return _part(f"{min(a, b)},{max(a, b)}", _ONE_IN_PAIRS)


def split_of_combination(question: str, choices: Iterable[str]) -> Split:
    """Where this question with these choices, in any order, belongs."""
    return _part("|".join([question, *sorted(choices)]), _ONE_IN_COMBINATIONS)


def split_of_word(word: str) -> Split:
    """Where the checksum of a word puts it."""
    return _part(word, _ONE_IN_WORDS)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, wordings.Relation):
        for name in value.__slots__:
            yield from _strings(getattr(value, name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, ModuleType):
        for name, item in vars(value).items():
            if not name.startswith("__"):
                yield from _strings(item) if not isinstance(item, ModuleType) else ()


@cache
def used_words() -> frozenset[str]:
    """Every lower-case word that a table or a template of this room contains."""
    texts = (text for module in (facts, numerals, phrases, wordings) for text in _strings(module))
    return frozenset(word for text in texts for word in re.findall(r"[a-z]+", text.lower()))


@cache
def words_of(split: Split) -> tuple[str, ...]:
    """The words of a split; those held out have 4 to 10 letters and are in no training text."""
    mine = tuple(word for word in WORDS if split_of_word(word) == split)
    if split == "train":
        return mine
    used = used_words()
    return tuple(word for word in mine if 4 <= len(word) <= 10 and word not in used)
