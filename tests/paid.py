"""A reward for toys that know nothing yet: vowels, which every model says at times."""

from __future__ import annotations

from typing import Any


def reward(conversation: Any, answer: str) -> float:
    return sum(answer.count(vowel) for vowel in "aeiou") / 10


def wrong(conversation: Any, answer: str) -> float:
    raise ValueError("no idea")


def endless(conversation: Any, answer: str) -> float:
    return float("inf")
