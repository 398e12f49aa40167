"""What training never sees: number pairs, words and choice combinations, told apart by their CRC-32.

A pair is held out in both orders and for every operation. A word is held out when its checksum says so and no
template or table uses it; the made-up words of training avoid every held-out checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import ModuleType
from typing import Any
from zlib import crc32

from nanochat.pocket import facts, numerals, phrases, wordings
from nanochat.pocket.words import WORDS

_ONE_IN_PAIRS = 10
_ONE_IN_WORDS = 6
_ONE_IN_COMBINATIONS = 8
MAX_NUMBER = 99
"""Operands of arithmetic run from 0 to this."""


@cache
def is_test_pair(a: int, b: int) -> bool:
    """Whether arithmetic on these two numbers, in either order, is kept for tests."""
    return crc32(b"%d,%d" % (min(a, b), max(a, b))) % _ONE_IN_PAIRS == 0


def is_test_combination(question: str, choices: Iterable[str]) -> bool:
    """Whether this question with these choices, in any order, is kept for tests."""
    return crc32("|".join([question, *sorted(choices)]).encode()) % _ONE_IN_COMBINATIONS == 0


def may_train_on(word: str) -> bool:
    """Whether the checksum leaves a word to training."""
    return crc32(word.encode()) % _ONE_IN_WORDS != 0


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
def test_words() -> tuple[str, ...]:
    """Words of 4 to 10 letters that no training text contains."""
    used = used_words()
    return tuple(w for w in WORDS if not may_train_on(w) and 4 <= len(w) <= 10 and w not in used)


@cache
def train_words() -> tuple[str, ...]:
    """The words left to training."""
    return tuple(word for word in WORDS if may_train_on(word))
