"""Raw text for pretraining: an endless stream of small documents about the small true world.

Articles, stories, dialogues, questions with answers, arithmetic, spelled words, and lists whose letters are
asked for: about a quarter of the text binds items to letters, which four-choice questions need. Sentences about
facts are rendered once; a document is then a few dozen draws. Held-out wordings, number pairs and words never
occur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

from nanochat.pocket import facts, phrases
from nanochat.pocket.choices import LETTERS, choice_lines, choice_prompt, draw_letters, four_choices
from nanochat.pocket.conversations import (
    CHOICE_SLOTS,
    FACT_SLOTS,
    draw_items,
    draw_letter,
    draw_pair,
    draw_word,
    times,
)
from nanochat.pocket.draw import Rnd, pick, sample, shuffled
from nanochat.pocket.held_out import MAX_NUMBER, split_of_combination
from nanochat.pocket.numerals import in_words
from nanochat.pocket.wordings import RELATIONS, Relation, capitalised, fill

CORPUS_VERSION = 5
"""Raised when the text of a seed changes, so that corpora written before are made anew."""
_LEAST_CHARS = 300


@dataclass(frozen=True, slots=True)
class _Sayings:
    """A fact with all its sentences rendered."""

    subject: str
    answer: str
    reply: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]


@cache
def _sayings(name: str) -> tuple[_Sayings, ...]:
    relation = next(relation for relation in RELATIONS if relation.name == name)
    return tuple(
        _Sayings(
            x,
            y,
            fill(relation.answer, x, y),
            # the form of the answer comes as often as all other statements together
            tuple(fill(t, x, y) for t in (*[relation.answer] * len(relation.statements), *relation.statements)),
            tuple(fill(t, x, y) for t in relation.questions),
        )
        for x, y in relation.facts
    )


@cache
def _about(name: str) -> dict[str, _Sayings]:
    return {saying.subject: saying for saying in _sayings(name)}


def documents(seed: int, split: Literal["train", "val"], part: int = 0) -> Iterator[str]:
    """Endless documents of 200 to 1,500 characters.

    Args:
        seed: another seed gives other documents about the same world.
        split: two different streams of the same distribution.
        part: streams of one split that shards take side by side.
    """
    rnd = Random(f"pocket documents {split} {seed} {part}").random
    while True:
        yield pick(rnd, _MAKERS)(rnd)


def _titled(rnd: Rnd, titles: tuple[str, ...], lines: list[str], separator: str = "\n") -> str:
    title = pick(rnd, titles)
    body = separator.join(lines)
    return f"{title}\n\n{body}" if title else body


def _until_long(rnd: Rnd, part: Callable[[Rnd], str], separator: str = "\n\n", least: int = _LEAST_CHARS) -> str:
    parts, size = [], 0
    while size < least:
        parts.append(part(rnd))
        size += len(parts[-1])
    return separator.join(parts)


# Articles


def _country(rnd: Rnd) -> str:
    capital = pick(rnd, _sayings("capital"))
    x, y = capital.subject, capital.answer
    continent, country = _about("continent")[x], _about("country")[y]
    first = pick(rnd, phrases.COUNTRY_ARTICLES).format(x=x, capital=y, continent=continent.answer)
    sentences = [
        *(pick(rnd, saying.statements) for saying in (capital, continent, country)),
        *(f"{pick(rnd, saying.questions)} {saying.reply}" for saying in (capital, continent, country)),
    ]
    return f"{capitalised(x)}\n\n{capitalised(first)}{' '.join(shuffled(rnd, sentences))}"


_ANIMAL_RELATIONS = ("class", "legs", "sound", "baby", "home")


def _animal(rnd: Rnd) -> str:
    subject = pick(rnd, _sayings("legs")).subject
    known = [_about(name)[subject] for name in _ANIMAL_RELATIONS if subject in _about(name)]
    sentences = [pick(rnd, saying.statements) for saying in known]
    sentences += [f"{pick(rnd, saying.questions)} {saying.reply}" for saying in known]
    return f"{capitalised(subject)}\n\n{' '.join(shuffled(rnd, sentences))}"


def _element(rnd: Rnd) -> str:
    name, _, _, kind = pick(rnd, facts.ELEMENTS)
    known = (_about("symbol")[name], _about("atomic_number")[name])
    sentences = [pick(rnd, saying.statements) for saying in known]
    sentences += [f"{pick(rnd, saying.questions)} {saying.reply}" for saying in known]
    sentences.append(fill(phrases.ELEMENT_KIND, name, kind))
    return f"{capitalised(name)}\n\n{' '.join(shuffled(rnd, sentences))}"


def _articles(rnd: Rnd) -> str:
    return _until_long(rnd, pick(rnd, (_country, _country, _country, _animal, _animal, _element)))


_NOTE_RELATIONS = (
    "colour",
    "opposite",
    "opposite",
    "month_after",
    "month_order",
    "day_after",
    "in_words",
    "month_days",
)


def _notes(rnd: Rnd) -> str:
    """Statements of one or two relations after each other, as in a school book."""
    names = (pick(rnd, _NOTE_RELATIONS), pick(rnd, FACT_SLOTS).name)
    lines = []
    for _ in range(9 + int(rnd() * 10)):
        saying = pick(rnd, _sayings(names[rnd() < 0.3]))
        lines.append(pick(rnd, saying.statements))
    if rnd() < 0.3:
        places = sorted(sample(rnd, range(len(facts.BY_SIZE)), 4))
        lines.append(phrases.LADDER.format(names=", ".join(facts.with_article(facts.BY_SIZE[i]) for i in places)))
    if rnd() < 0.3:
        x, y = pick(rnd, tuple(facts.OPPOSITES.items()))
        lines.append(phrases.OPPOSITE_STORY.format(x=x, y=y))
    return _titled(rnd, phrases.FACT_TITLES, lines, pick(rnd, ("\n", " ")))


def _questions(rnd: Rnd) -> str:
    ask, reply = pick(rnd, phrases.QA_FORMS)
    lines = []
    for _ in range(6 + int(rnd() * 6)):
        saying = pick(rnd, _sayings(pick(rnd, FACT_SLOTS).name))
        lines.append(f"{ask}{pick(rnd, saying.questions)}\n{reply}{saying.reply}")
    return _titled(rnd, phrases.QA_TITLES, lines, "\n\n" if ask else "\n")


# Numbers and letters


def _arithmetic(rnd: Rnd) -> str:
    lines = []
    small = rnd() < 0.4
    for _ in range(7 + int(rnd() * 5)):
        sign = pick(rnd, "++-*")
        a, b = draw_pair(rnd, "train", 12 if small else MAX_NUMBER)
        if sign == "-":
            a, b = max(a, b), min(a, b)
        words = (in_words(a), in_words(b))
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
        lines.append(
            pick(rnd, phrases.ARITHMETIC_SENTENCES if small else phrases.EXPRESSION_SENTENCES).format(
                a=words[0],
                b=words[1],
                A=capitalised(words[0]),
                da=a,
                db=b,
                sign=sign,
                operation=phrases.OPERATION_WORDS[sign],
                result=in_words(result),
                dresult=result,
            )
        )
    return _titled(rnd, phrases.ARITHMETIC_TITLES, lines)


def _letters(rnd: Rnd) -> str:
    lines = []
    templates = pick(rnd, (phrases.SPELLING_SENTENCES, phrases.COUNTING_SENTENCES, phrases.COUNTING_SENTENCES))
    for _ in range(7 + int(rnd() * 4)):
        word = draw_word(rnd, "train")
        letter = draw_letter(rnd, word)
        count = word.count(letter)
        lines.append(
            pick(rnd, templates).format(
                word=word,
                letter=letter,
                count=count,
                times=times(count),
                spaced=", ".join(word),
                commas=",".join(word),
                length=len(word),
                first=word[0],
                last=word[-1],
            )
        )
    return _titled(rnd, phrases.WORD_TITLES, lines)


# Lists whose letters are asked for


def _places(rnd: Rnd, count: int, items: int = len(LETTERS)) -> list[int]:
    """Which items are asked for: each drawn anew, lest the last letter be guessed from those before."""
    return [int(rnd() * items) for _ in range(count)]


def _labelled(rnd: Rnd) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Items and a label for each: A to D, other letters, numbers or other items."""
    chance = rnd()
    if chance < 0.25:
        return draw_items(rnd), LETTERS
    items = draw_items(rnd, 2 + int(rnd() * 4))
    if chance < 0.7:
        return items, draw_letters(rnd, len(items))
    if chance < 0.85:
        return items, tuple(str(number) for number in sample(rnd, range(10, 100), len(items)))
    return items, draw_items(rnd, len(items))


def _lookup(rnd: Rnd) -> str:
    items, labels = _labelled(rnd)
    sentences = [
        pick(rnd, phrases.LOOKUP_SENTENCES).format(item=items[place], letter=labels[place])
        for place in _places(rnd, 6 + int(rnd() * 4), len(items))
    ]
    return _titled(rnd, phrases.LIST_TITLES, [choice_lines(items, labels), "", *sentences])


def _pairs(rnd: Rnd) -> str:
    """Items and their labels over and over in one terse form: every third token is a label to look up."""
    items, labels = _labelled(rnd)
    form = pick(rnd, phrases.PAIRS)
    places = _places(rnd, 10 + int(rnd() * 8), len(items))
    pairs = [form.format(item=items[place], letter=labels[place]) for place in places]
    return _titled(rnd, phrases.LIST_TITLES, [choice_lines(items, labels), "", *pairs])


def _echo(rnd: Rnd) -> str:
    """A line of items said again and again: what came before comes again, the simplest use of a context."""
    line = pick(rnd, phrases.ECHO_SEPARATORS).join(draw_items(rnd, 3 + int(rnd() * 6)))
    return "\n".join([line] * (2 + int(rnd() * 3)))


@cache
def _by_answer(name: str) -> dict[str, tuple[_Sayings, ...]]:
    table: dict[str, list[_Sayings]] = {}
    for saying in _sayings(name):
        table.setdefault(saying.answer, []).append(saying)
    return {answer: tuple(sayings) for answer, sayings in table.items()}


def _sheet(rnd: Rnd) -> str:
    """One list of choices and a question for each of them: four letters to learn from one list."""
    relation = pick(rnd, CHOICE_SLOTS)
    choices = sample(rnd, relation.pool, 4)
    letters = LETTERS if rnd() < 0.4 else draw_letters(rnd, 4)
    explained = rnd() < 0.35
    form = pick(rnd, phrases.SHEET_EXPLAINED if explained else phrases.SHEET_DIRECT)
    lines = [choice_lines(choices, letters), ""]
    for place in _places(rnd, 6):
        saying = pick(rnd, _by_answer(relation.name)[choices[place]])
        question = pick(rnd, saying.questions)
        if split_of_combination(question, choices) == "train":
            lines.append(form.format(question=question, letter=letters[place], statement=saying.reply, y=saying.answer))
    return _titled(rnd, phrases.LIST_TITLES, lines)


def _quiz(rnd: Rnd) -> str:
    """A four-choice question as it is asked in chat, with its letter."""
    while True:
        relation: Relation = pick(rnd, CHOICE_SLOTS)
        saying = pick(rnd, _sayings(relation.name))
        question = pick(rnd, saying.questions)
        choices = four_choices(rnd, relation, saying.subject, saying.answer)
        if split_of_combination(question, choices) == "train":
            letter = LETTERS[choices.index(saying.answer)]
            reason = f"{saying.reply} " if rnd() < 0.2 else ""
            return f"{choice_prompt(question, choices)}\n{reason}{letter}"


_LIST_PARTS = (_pairs, _pairs, _pairs, _lookup, _lookup, _echo, _sheet, _sheet, _quiz)


def _lists(rnd: Rnd) -> str:
    return _until_long(rnd, pick(rnd, _LIST_PARTS), least=350)


# Everyday life


def _people(rnd: Rnd) -> dict[str, str]:
    n, m = sample(rnd, phrases.WOMEN + phrases.MEN, 2)
    o, q = sample(rnd, phrases.OBJECTS, 2)
    c, d = sample(rnd, phrases.CONTAINERS, 2)
    colour, colour2 = sample(rnd, _COLOURS, 2)
    return {
        "n": n, "m": m, "o": o, "q": q, "c": c, "d": d, "colour": colour, "colour2": colour2,
        "p": pick(rnd, phrases.PLACES), "pet": pick(rnd, phrases.PETS), "day": pick(rnd, facts.DAYS),
        "month": pick(rnd, facts.MONTHS),
    }  # fmt: skip


_COLOURS = tuple(colour for colour in sorted(set(facts.COLOURS.values())) if colour != "orange")


def _story(rnd: Rnd) -> str:
    names = _people(rnd)
    sentences = [pick(rnd, phrases.OPENINGS)]
    sentences += sample(rnd, phrases.EVENTS, 2)
    sentences += [pick(rnd, phrases.RECALLS), pick(rnd, phrases.ENDINGS)]
    return " ".join(sentences).format(**names)


def _dialogue(rnd: Rnd) -> str:
    names = _people(rnd)
    lines = [pick(rnd, phrases.DIALOGUE_OPENINGS).format(**names)]
    for _ in range(3 + int(rnd() * 3)):
        saying = pick(rnd, _sayings(pick(rnd, FACT_SLOTS).name))
        lines.append(
            phrases.DIALOGUE_TURN.format(
                question=pick(rnd, saying.questions),
                answer=saying.reply.rstrip(".") + ",",
                n=names["n"],
                m=names["m"],
            )
        )
    lines.append(pick(rnd, phrases.ENDINGS).format(**names))
    return "\n".join(lines)


def _life(rnd: Rnd) -> str:
    return _until_long(rnd, _story if rnd() < 0.65 else _dialogue)


_WEIGHTS: dict[Callable[[Rnd], str], int] = {
    _articles: 18,
    _notes: 14,
    _questions: 18,
    _arithmetic: 7,
    _letters: 9,
    _lists: 28,
    _life: 6,
}
_MAKERS = tuple(maker for maker, weight in _WEIGHTS.items() for _ in range(weight))
