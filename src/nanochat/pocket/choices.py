"""Four-choice questions: the right answer among three wrong ones of the same pool, each with its letter."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase

from nanochat.pocket import phrases
from nanochat.pocket.draw import Rnd, pick, sample, shuffled
from nanochat.pocket.wordings import RELATIONS, Relation

LETTERS = ("A", "B", "C", "D")

CHOICE_RELATIONS: tuple[Relation, ...] = tuple(
    relation for relation in RELATIONS if len(relation.pool) >= len(LETTERS) and relation.name != "bigger"
)
"""Relations with at least four different answers. The pool of `bigger` holds several right ones."""


def four_choices(rnd: Rnd, relation: Relation, subject: str, answer: str) -> tuple[str, ...]:
    """The answer and three other members of the pool, never the subject itself, in random order."""
    choices = [answer]
    while len(choices) < len(LETTERS):
        wrong = pick(rnd, relation.pool)
        if wrong not in choices and wrong != subject:
            choices.append(wrong)
    return tuple(shuffled(rnd, choices))


def draw_letters(rnd: Rnd, count: int) -> tuple[str, ...]:
    """Different capital letters in any order.

    They teach what A to D alone do not: a model that looks at the letters of a list, and not yet at their items,
    gains nothing when all four are always there, and much when they are four of twenty-six.
    """
    return tuple(sample(rnd, ascii_uppercase, count))


def choice_lines(choices: Sequence[str], letters: Sequence[str] = LETTERS) -> str:
    """The lines `- Paris=A` to `- Cairo=D`, without a newline at the end."""
    return "\n".join(
        phrases.CHOICE_LINE.format(choice=choice, letter=letter)
        for choice, letter in zip(choices, letters, strict=True)
    )


def choice_prompt(
    question: str, choices: Sequence[str], letters: Sequence[str] = LETTERS, tail: str = phrases.CHOICE_TAIL
) -> str:
    """The whole question as it is asked in chat; `tail` says what the answer should look like."""
    head = phrases.CHOICE_HEAD.format(question=question)
    return f"{head}\n{choice_lines(choices, letters)}\n\n{tail}"
