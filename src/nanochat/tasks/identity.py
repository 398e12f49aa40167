"""Conversations about who a model is, from templates: the same for a seed, and without repetitions as long as possible.

A conversation has one to three questions, opens with a greeting now and then, and closes with thanks or goodbye.
Answers vary little: a small model has to learn them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nanochat.errors import MissingError, UsageError
from nanochat.pocket.draw import Rnd, pick, sample
from nanochat.runtime.files import translate_os_errors
from nanochat.tasks import identity_wordings as wordings
from nanochat.tasks.identity_wordings import Topic
from nanochat.tokenizer.conversation import Conversation, Message

MAX_FACTS_BYTES = 1_000_000
_KEY = re.compile(r"([^:.!?]{1,40}):\s+(\S.*)")
_MAX_KEY_WORDS = 4
_TRIES = 50  # draws without anything new after which the pool counts as empty

Turn = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Persona:
    """Who a model is.

    Attributes:
        name: what it is called.
        maker: who trained it; empty where that is not to be said.
        pairs: facts with a key, as ("favourite colour", "green").
        sentences: facts that are whole sentences.
    """

    name: str
    maker: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    sentences: tuple[str, ...] = ()


def read_facts(path: Path) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The facts of a file: `key: value` with a key of up to four words, else sentences. `#` begins a comment line.

    Raises:
        MissingError: no such file.
        UsageError: not UTF-8, too long, or nothing in it.
        StorageError: it cannot be read.
    """
    with translate_os_errors(path):
        if not path.exists():
            raise MissingError(f"there is no file {path}", "write one fact a line, as in  favourite colour: green")
        data = path.read_bytes()
    if len(data) > MAX_FACTS_BYTES:
        raise UsageError(f"{path} has {len(data):,} bytes", f"facts are short lines, {MAX_FACTS_BYTES:,} bytes in all")
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 (byte {error.start})", "save it as UTF-8 text") from None
    pairs: dict[str, str] = {}
    sentences: dict[str, None] = {}
    for line in (line.strip() for line in lines):
        match = _KEY.fullmatch(line)
        if not line or line.startswith("#"):
            continue
        if match and len(match[1].split()) <= _MAX_KEY_WORDS:
            pairs[match[1].strip().removeprefix("your ").removeprefix("my ")] = match[2].strip().removesuffix(".")
        else:
            sentences[line if line[-1] in ".!?" else f"{line}."] = None
    if not pairs and not sentences:
        raise UsageError(f"{path} holds no facts", "write one fact a line, as in  favourite colour: green")
    return tuple(pairs.items()), tuple(sentences)


def identity_conversations(persona: Persona, seed: int) -> Iterator[Conversation]:
    """Different conversations, until fifty draws in a row give none that is new."""
    rnd = Random(f"identity {seed}").random
    topics = _topics(persona)
    slots = tuple(topic for topic in topics for _ in range(topic.weight))
    seen: set[tuple[Turn, ...]] = set()
    vain = 0
    while vain < _TRIES:
        turns = tuple(_turns(rnd, persona, slots))
        if turns in seen:
            vain += 1
            continue
        seen.add(turns)
        vain = 0
        yield as_conversation(turns)


def take(persona: Persona, count: int, seed: int, taken: Sequence[Conversation] = ()) -> list[Conversation]:
    """`count` conversations, different ones as far as there are so many, and none of those `taken`.

    Where the pool is smaller, it is gone through again.
    """
    known = set(taken)
    fresh = (conversation for conversation in identity_conversations(persona, seed) if conversation not in known)
    found = list(itertools.islice(fresh, count))
    return list(itertools.islice(itertools.cycle(found), count)) if found else []


def as_conversation(turns: Sequence[Turn]) -> Conversation:
    """Questions and answers as messages."""
    return Conversation(
        tuple(
            message
            for question, answer in turns
            for message in (Message.text("user", question), Message.text("assistant", answer))
        )
    )


def _topics(persona: Persona) -> tuple[Topic, ...]:
    about = wordings.ABOUT
    if persona.sentences:
        told = tuple(
            form.replace("{sentence}", _escaped(sentence))
            for sentence in persona.sentences
            for form in wordings.ABOUT_FACT
        )
        about = Topic(about.questions, told, weight=about.weight + min(4, len(persona.sentences)))
    facts = [_fact(key, value) for key, value in persona.pairs]
    maker = wordings.MAKER if persona.maker else wordings.MAKER_UNSAID
    own = [word.lower() for word in f"{persona.name} {persona.maker}".split()]
    strangers = tuple(text for text in wordings.OTHERS.questions if not any(word in text.lower() for word in own))
    others = [Topic(strangers, wordings.OTHERS.answers, wordings.OTHERS.weight)] if strangers else []
    general = (wordings.WHO, maker, wordings.NATURE, *others, wordings.SKILLS, about, *facts)
    return tuple(_without_maker(topic) if not persona.maker else topic for topic in general)


def _without_maker(topic: Topic) -> Topic:
    return Topic(topic.questions, tuple(text for text in topic.answers if "{maker}" not in text), topic.weight)


def _fact(key: str, value: str) -> Topic:
    last = key.split()[-1].lower()
    be = "are" if last.endswith("s") and not last.endswith(("ss", "us", "is")) else "is"
    given = {"key": _escaped(key), "value": _escaped(value), "be": be, "name": "{name}"}
    questions = tuple(text.format(**given) for text in wordings.KEY_QUESTIONS)
    return Topic(questions, tuple(text.format(**given) for text in wordings.KEY_ANSWERS), weight=2)


def _turns(rnd: Rnd, persona: Persona, slots: Sequence[Topic]) -> list[Turn]:
    """One to three questions about different things, in a frame."""
    count = pick(rnd, (1, 1, 1, 2, 2, 3))
    topics: list[Topic] = []
    for topic in sample(rnd, slots, min(len(slots), 3 * count)):
        if topic not in topics and len(topics) < count:
            topics.append(topic)
    greeted = rnd() < 0.15
    if greeted:
        topics.insert(0, wordings.HELLO)
    if rnd() < 0.1:
        topics.append(wordings.MOOD if greeted else pick(rnd, (wordings.THANKS, wordings.BYE)))
    return [_turn(rnd, persona, topic, first=at == 0 and not greeted) for at, topic in enumerate(topics)]


def _turn(rnd: Rnd, persona: Persona, topic: Topic, *, first: bool) -> Turn:
    question = _filled(pick(rnd, topic.questions), persona)
    answer = _filled(pick(rnd, topic.answers), persona)
    if answer.startswith(("the ", "a ", "an ", "my ")):  # a maker that is no name
        answer = answer[0].upper() + answer[1:]
    if first:
        opening = pick(rnd, wordings.OPENINGS)
        if opening.endswith((", ", ": ")) and not question.startswith(("I ", persona.name)):
            question = question[0].lower() + question[1:]
        question = opening + question
    draw = rnd()
    if draw < 0.1:
        question = question.lower()
    elif draw < 0.2:
        question = question.rstrip(".?!")
    return question, answer


def _filled(text: str, persona: Persona) -> str:
    return text.format(name=persona.name, maker=persona.maker)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
