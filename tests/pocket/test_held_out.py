"""Nothing that tests ask is ever trained on."""

from __future__ import annotations

import re
from functools import cache
from itertools import islice

import pytest

from nanochat.pocket import phrases
from nanochat.pocket.conversations import KINDS, conversation
from nanochat.pocket.documents import documents
from nanochat.pocket.held_out import split_of_pair, split_of_word, words_of
from nanochat.pocket.numerals import in_words
from nanochat.pocket.wordings import RELATIONS, fill

NUMBER = re.compile(r"(\d+) *(?:[+\-*x/]|plus|minus|times) *(\d+)")
WORD_NUMBER = re.compile(r"([a-z]+(?:-[a-z]+)?) (?:plus|minus|times) ([a-z]+(?:-[a-z]+)?)")
HELD_OUT = ("val", "test")
VALUES = {in_words(n): n for n in range(100)}


@cache
def training_documents() -> str:
    texts = [*islice(documents(0, "train"), 7_000), *islice(documents(0, "val"), 3_000)]
    return "\n\n".join(texts)


@cache
def training_conversations() -> tuple[dict, ...]:
    return tuple(conversation(KINDS[i % len(KINDS)], i, "train") for i in range(20_000))


def prompts(record: dict) -> list[str]:
    return [message["content"] for message in record["messages"] if message["role"] == "user"]


def everything(record: dict) -> str:
    return "\n".join(
        content if isinstance(content, str) else "\n".join(part["text"] for part in content)
        for content in (message["content"] for message in record["messages"])
    )


@cache
def training_text() -> str:
    return training_documents() + "\n" + "\n".join(map(everything, training_conversations()))


def test_there_is_enough_to_scan() -> None:
    assert len(training_documents()) > 4_000_000
    assert all(len(words_of(split)) >= 200 for split in HELD_OUT)
    assert not set(words_of("test")) & set(words_of("val"))


@cache
def held_out_words() -> frozenset[str]:
    return frozenset(words_of("val") + words_of("test"))


def test_no_training_text_contains_a_held_out_word() -> None:
    seen = set(re.findall(r"[a-z]+", training_text().lower()))
    assert not seen & held_out_words()


def test_no_training_text_computes_with_a_held_out_pair() -> None:
    text = training_text()
    pairs = {(int(a), int(b)) for a, b in NUMBER.findall(text)}
    pairs |= {(VALUES[a], VALUES[b]) for a, b in WORD_NUMBER.findall(text.lower()) if a in VALUES and b in VALUES}
    assert len(pairs) > 3_000
    assert not [pair for pair in pairs if max(pair) < 100 and split_of_pair(*pair) != "train"]


def test_no_arithmetic_prompt_holds_a_held_out_pair_in_any_wording() -> None:
    spelled = re.compile(r"\b(" + "|".join(sorted(VALUES, key=len, reverse=True)) + r")\b(?!-)")
    checked = 0
    for index in range(4_000):
        prompt = prompts(conversation("arithmetic", index, "train"))[0].lower()
        numbers = [int(n) for n in re.findall(r"\d+", prompt)] or [VALUES[w] for w in spelled.findall(prompt)]
        assert len(numbers) == 2, prompt
        assert split_of_pair(*numbers) == "train", prompt
        checked += 1
    assert checked == 4_000


def first_sentences(text: str) -> set[str]:
    """Every sentence, without the speaker or the head of a quiz before it."""
    sentences = re.split(r'(?<=[.?!])\s+|\n|"', text)
    return {re.sub(r"^(?:[A-Z][\w ]*: )", "", sentence.strip()) for sentence in sentences}


def test_no_training_text_uses_a_held_out_wording() -> None:
    seen = {sentence.lower() for sentence in first_sentences(training_text())}
    asked = 0
    for relation in RELATIONS:
        for template in relation.val_questions + relation.test_questions:
            opening = re.split(r"(?<=[.?!])\s", template)[0]
            for subject, answer in relation.facts:
                asked += 1
                assert fill(opening, subject, answer).lower() not in seen
                assert fill(opening, subject, answer).lower().rstrip("?.") not in seen
    assert asked > 2_500


def test_wordings_of_the_splits_differ() -> None:
    for relation in RELATIONS:
        assert len(relation.questions) >= 8, relation.name
        for held_out in (relation.val_questions, relation.test_questions):
            assert len(held_out) >= 4, relation.name
            assert not set(relation.questions) & set(held_out)
        assert not set(relation.val_questions) & set(relation.test_questions)
    for sign, train in phrases.ARITHMETIC.items():
        assert not set(train) & set(phrases.ARITHMETIC_VAL[sign] + phrases.ARITHMETIC_TEST[sign])
    assert not set(phrases.COUNTING + phrases.COUNTING_BARE) & set(phrases.COUNTING_VAL + phrases.COUNTING_TEST)
    assert not set(phrases.SPELLING) & set(phrases.SPELLING_VAL + phrases.SPELLING_TEST)
    for train, test, _ in phrases.IDENTITY.values():
        assert not set(train) & set(test)


@cache
def training_prompts() -> frozenset[str]:
    return frozenset(prompt.lower() for record in training_conversations() for prompt in prompts(record))


@pytest.mark.parametrize(
    ("kind", "split"),
    [(kind, split) for kind in ("facts", "arithmetic", "counting", "spelling", "choice") for split in HELD_OUT]
    + [("identity", "test")],  # a dozen questions of identity are too few to hold some out twice
)
def test_no_held_out_prompt_is_a_training_prompt(kind: str, split: str) -> None:
    asked = {prompts(conversation(kind, index, split))[0].lower() for index in range(300)}
    assert not asked & training_prompts()


@pytest.mark.parametrize("split", HELD_OUT)
def test_held_out_conversations_ask_held_out_things(split: str) -> None:
    words = set(words_of(split))
    for index in range(200):
        assert conversation("spelling", index, split)["subject"] in words
        assert conversation("counting", index, split)["subject"].strip("'") in words
        a, _, b = conversation("arithmetic", index, split)["subject"].split()
        assert split_of_pair(int(a), int(b)) == split


@pytest.mark.parametrize("split", HELD_OUT)
def test_pairs_are_held_out_in_both_orders(split: str) -> None:
    held = sum(split_of_pair(a, b) == split for a in range(100) for b in range(100))
    assert 700 < held < 1_300
    assert all(split_of_pair(a, b) == split_of_pair(b, a) for a in range(100) for b in range(a))


def test_made_up_words_never_hit_a_held_out_checksum() -> None:
    for record in training_conversations()[:4_000]:
        if record["kind"] == "spelling":
            assert split_of_word(record["subject"]) == "train"
