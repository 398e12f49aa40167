"""Four-choice questions: the right answer among three wrong ones of the same pool, each with its letter."""

from __future__ import annotations

from collections.abc import Sequence

from nanochat.pocket import phrases
from nanochat.pocket.draw import Rnd, pick, shuffled
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


def choice_lines(choices: Sequence[str]) -> str:
    """The lines `- Paris=A` to `- Cairo=D`, without a newline at the end."""
    return "\n".join(
        phrases.CHOICE_LINE.format(choice=choice, letter=letter)
        for choice, letter in zip(choices, LETTERS, strict=True)
    )


def choice_prompt(question: str, choices: Sequence[str], tail: str = phrases.CHOICE_TAIL) -> str:
    """The whole question as it is asked in chat; `tail` says what the answer should look like."""
    head = phrases.CHOICE_HEAD.format(question=question)
    return f"{head}\n{choice_lines(choices)}\n\n{tail}"
