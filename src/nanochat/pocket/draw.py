"""Fast draws from `random.Random.random`, whose stream Python promises to keep between versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Rnd = Callable[[], float]
"""A source of floats in [0, 1), such as `random.Random(seed).random`."""

T = TypeVar("T")


def pick(rnd: Rnd, items: Sequence[T]) -> T:
    """One item, each as likely."""
    return items[int(rnd() * len(items))]


def sample(rnd: Rnd, items: Sequence[T], count: int) -> list[T]:
    """`count` different places of `items`, in random order; `count` must be small beside the length."""
    size = len(items)
    places: list[int] = []
    while len(places) < count:
        place = int(rnd() * size)
        if place not in places:
            places.append(place)
    return [items[place] for place in places]


def shuffled(rnd: Rnd, items: Sequence[T]) -> list[T]:
    """The items in random order (Fisher-Yates)."""
    result = list(items)
    for i in range(len(result) - 1, 0, -1):
        j = int(rnd() * (i + 1))
        result[i], result[j] = result[j], result[i]
    return result
