"""Spelling words and counting letters, made from a list of English words: SpellingBee and SimpleSpelling.

Models see tokens, not letters. SpellingBee spells a word, counts by hand and checks with Python; SimpleSpelling only
spells, so that there are many more words to learn it from. A tenth of the words is never trained on.
"""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path
from random import Random
from zlib import crc32

from nanochat.errors import DamagedError
from nanochat.pocket.held_out import Split
from nanochat.runtime.files import translate_os_errors
from nanochat.tasks.grading import final_number, spells
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation, Message, Part

SIZES: dict[str, dict[Split, int]] = {
    "spellingbee": {"train": 80_000, "val": 256, "test": 256},
    "simplespelling": {"train": 200_000, "val": 256, "test": 256},
}

_ONE_IN = 20  # of the words for test, as many for val
_OTHER_LETTER = 0.1  # share of questions about a letter drawn from the whole alphabet

# {w} is the word, {l} the letter
_QUESTIONS = (
    "How many {l} are in {w}?",
    "How many times does {l} occur in {w}?",
    "How often is there {l} in {w}?",
    "How often does the letter {l} appear in {w}?",
    "Count the letter {l} in {w}.",
    "Count how many {l} the word {w} has.",
    "What is the number of {l} in {w}?",
    "Tell me how many {l} there are in {w}.",
    "In {w}, how many letters are {l}?",
    "Does {w} contain {l}, and how many times?",
    "Please count every {l} in the word {w}.",
    "The word is {w}. How many {l} do you find?",
    "how many {l} in {w}",
    "number of letters {l} in {w}",
    "Combien de {l} y a-t-il dans {w} ?",
    "Wie viele {l} hat das Wort {w}?",
    "¿Cuántas {l} hay en {w}?",
    "Quante {l} ci sono in {w}?",
)
_QUOTES = ("", "'", '"', "`")


@lru_cache(maxsize=2)  # half a second for the list of the reference, which two tasks use in two splits each
def load_words(path: Path) -> dict[Split, list[str]]:
    """The words of a list, one a line, by the split they belong to; those with other signs than a to z are left out.

    Raises:
        DamagedError: fewer than a hundred words.
        StorageError: it cannot be read.
    """
    with translate_os_errors(path):
        try:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except EOFError as error:
            raise DamagedError(f"{path} cannot be unpacked: {error}", "fetch the file again") from error
    words: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    for word in dict.fromkeys(data.decode("utf-8", "replace").split()):
        if word.isascii() and word.isalpha() and word.islower():
            words[_split_of(word)].append(word)
    if min(map(len, words.values())) < 3:
        raise DamagedError(f"{path} is no list of words, one a line, in small letters", "fetch the file again")
    return words


def _split_of(word: str) -> Split:
    parts: dict[int, Split] = {0: "test", 1: "val"}
    return parts.get(crc32(word.encode()) % _ONE_IN, "train")


class _Words(Task):
    """Conversations about words, made when asked for, by number.

    Args:
        words: of the split.
        split: train, val or test; each has other words.
        size: how many conversations.
    """

    def __init__(self, words: list[str], split: Split, size: int | None = None) -> None:
        self._words = words
        self._split = split
        self._size = SIZES[self.name][split] if size is None else size

    def __len__(self) -> int:
        return self._size

    def _draw(self, index: int) -> tuple[Random, str]:
        """Random numbers of a conversation, and its word."""
        index = range(len(self))[index]
        rnd = Random(f"{self.name} {self._split} {index}")
        return rnd, rnd.choice(self._words)


class SpellingBee(_Words):
    """How many of a letter a word has: spelt out, counted, checked with the calculator's `count`."""

    name = "spellingbee"
    max_new_tokens = 512

    def __getitem__(self, index: int) -> Conversation:
        rnd, word = self._draw(index)
        letter = chr(rnd.randrange(26) + ord("a")) if rnd.random() < _OTHER_LETTER else rnd.choice(word)
        quote = rnd.choice(_QUOTES)
        question = rnd.choice(_QUESTIONS).format(l=f"{quote}{letter}{quote}", w=f"{quote}{word}{quote}")
        question = question.lower() if rnd.random() < 0.3 else question
        count = word.count(letter)
        opening = f"I spell the word first.\n\n{word}:{','.join(word)}\n\nNow I look for {letter}, letter by letter:\n"
        lines, found = [], 0
        for number, each in enumerate(word, 1):
            found += each == letter
            lines.append(f"{number}:{each}" + (f" that makes {found}" if each == letter else ""))
        parts = (
            Part("text", f"{opening}{chr(10).join(lines)}\n\nBy hand that is {count}. Python says:\n\n"),
            Part("python", f"'{word}'.count('{letter}')"),
            Part("output", str(count)),
            Part("text", f"\n\nSo {word} has {count} of the letter {letter}.\n\n#### {count}"),
        )
        return Conversation((Message.text("user", question), Message("assistant", parts)))

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the number behind the first `####` is the right one."""
        return final_number(answer) == final_number(conversation.messages[-1].content)


class SimpleSpelling(_Words):
    """A word spelt with commas."""

    name = "simplespelling"

    def __getitem__(self, index: int) -> Conversation:
        _, word = self._draw(index)
        answer = f"{word}:{','.join(word)}"
        return Conversation((Message.text("user", f"Spell the word: {word}"), Message.text("assistant", answer)))

    def grade(self, conversation: Conversation, answer: str) -> bool:
        """Whether the answer is the letters of the word with commas between, `word:` before them or not."""
        return spells(answer, conversation.messages[0].content.removeprefix("Spell the word: "))
