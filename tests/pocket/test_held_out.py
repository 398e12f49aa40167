"""Nothing that tests ask is ever trained on."""

from __future__ import annotations

import re
from functools import cache
from itertools import islice

import pytest

from nanochat.pocket import phrases
from nanochat.pocket.conversations import KINDS, conversation
from nanochat.pocket.documents import documents
from nanochat.pocket.held_out import is_test_pair, may_train_on, test_words, train_words
from nanochat.pocket.numerals import in_words
from nanochat.pocket.wordings import RELATIONS, fill

held_out_words = test_words  # pytest would collect the name
del test_words

NUMBER = re.compile(r"(\d+) *(?:[+\-*x/]|plus|minus|times) *(\d+)")
WORD_NUMBER = re.compile(r"([a-z]+(?:-[a-z]+)?) (?:plus|minus|times) ([a-z]+(?:-[a-z]+)?)")
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
    assert len(held_out_words()) >= 200
    assert not set(held_out_words()) & set(train_words())


def test_no_training_text_contains_a_test_word() -> None:
    seen = set(re.findall(r"[a-z]+", training_text().lower()))
    assert not seen & set(held_out_words())


def test_no_training_text_computes_with_a_test_pair() -> None:
    text = training_text()
    pairs = {(int(a), int(b)) for a, b in NUMBER.findall(text)}
    pairs |= {(VALUES[a], VALUES[b]) for a, b in WORD_NUMBER.findall(text.lower()) if a in VALUES and b in VALUES}
    assert len(pairs) > 3_000
    assert not [pair for pair in pairs if max(pair) < 100 and is_test_pair(*pair)]


def test_no_arithmetic_prompt_holds_a_test_pair_in_any_wording() -> None:
    spelled = re.compile(r"\b(" + "|".join(sorted(VALUES, key=len, reverse=True)) + r")\b(?!-)")
    checked = 0
    for index in range(4_000):
        prompt = prompts(conversation("arithmetic", index, "train"))[0].lower()
        numbers = [int(n) for n in re.findall(r"\d+", prompt)] or [VALUES[w] for w in spelled.findall(prompt)]
        assert len(numbers) == 2, prompt
        assert not is_test_pair(*numbers), prompt
        checked += 1
    assert checked == 4_000


def first_sentences(text: str) -> set[str]:
    """Every sentence, without the speaker or the head of a quiz before it."""
    sentences = re.split(r'(?<=[.?!])\s+|\n|"', text)
    return {re.sub(r"^(?:[A-Z][\w ]*: )", "", sentence.strip()) for sentence in sentences}


def test_no_training_text_uses_a_test_wording() -> None:
    seen = {sentence.lower() for sentence in first_sentences(training_text())}
    asked = 0
    for relation in RELATIONS:
        for template in relation.test_questions:
            opening = re.split(r"(?<=[.?!])\s", template)[0]
            for subject, answer in relation.facts:
                asked += 1
                assert fill(opening, subject, answer).lower() not in seen
                assert fill(opening, subject, answer).lower().rstrip("?.") not in seen
    assert asked > 2_500


def test_wordings_of_the_two_splits_differ() -> None:
    for relation in RELATIONS:
        assert len(relation.questions) >= 8, relation.name
        assert len(relation.test_questions) >= 3, relation.name
        assert not set(relation.questions) & set(relation.test_questions)
    for sign, train in phrases.ARITHMETIC.items():
        assert not set(train) & set(phrases.ARITHMETIC_TEST[sign])
    assert not set(phrases.COUNTING + phrases.COUNTING_BARE) & set(phrases.COUNTING_TEST)
    assert not set(phrases.SPELLING) & set(phrases.SPELLING_TEST)
    for train, test, _ in phrases.IDENTITY.values():
        assert not set(train) & set(test)


@pytest.mark.parametrize("kind", ["facts", "arithmetic", "counting", "spelling", "choice", "identity"])
def test_no_test_prompt_is_a_training_prompt(kind: str) -> None:
    trained = {prompt.lower() for record in training_conversations() for prompt in prompts(record)}
    asked = {prompts(conversation(kind, index, "test"))[0].lower() for index in range(300)}
    assert not asked & trained


def test_test_conversations_ask_held_out_things() -> None:
    words = set(held_out_words())
    for index in range(200):
        assert conversation("spelling", index, "test")["subject"] in words
        assert conversation("counting", index, "test")["subject"].strip("'") in words
        a, _, b = conversation("arithmetic", index, "test")["subject"].split()
        assert is_test_pair(int(a), int(b))


def test_pairs_are_held_out_in_both_orders() -> None:
    held = sum(is_test_pair(a, b) for a in range(100) for b in range(100))
    assert 700 < held < 1_300
    assert all(is_test_pair(a, b) == is_test_pair(b, a) for a in range(100) for b in range(a))


def test_made_up_words_never_hit_a_held_out_checksum() -> None:
    for record in training_conversations()[:4_000]:
        if record["kind"] == "spelling":
            assert may_train_on(record["subject"])
