"""The stream of documents: the same for a seed, of handy length, and true."""

from __future__ import annotations

import hashlib
import re
from itertools import islice

import pytest

from nanochat.pocket import facts
from nanochat.pocket.documents import _WEIGHTS, documents
from nanochat.pocket.numerals import in_words


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return list(islice(documents(3, "train"), 3_000))


def test_a_seed_gives_the_same_documents_again() -> None:
    assert list(islice(documents(7, "train"), 50)) == list(islice(documents(7, "train"), 50))


def test_the_stream_does_not_depend_on_hash_seeds() -> None:
    digest = hashlib.sha256("\n".join(islice(documents(0, "train"), 200)).encode()).hexdigest()
    again = hashlib.sha256("\n".join(islice(documents(0, "train"), 200)).encode()).hexdigest()
    assert digest == again


def test_seeds_splits_and_parts_are_different_streams() -> None:
    streams = [
        documents(0, "train"),
        documents(0, "val"),
        documents(1, "train"),
        documents(0, "train", part=1),
    ]
    assert len({"\n".join(islice(stream, 20)) for stream in streams}) == 4


def test_documents_have_handy_lengths(texts: list[str]) -> None:
    lengths = [len(text) for text in texts]
    assert min(lengths) >= 120
    assert max(lengths) <= 1_500
    assert 350 <= sorted(lengths)[len(lengths) // 2] <= 700


def test_no_template_is_left_unfilled(texts: list[str]) -> None:
    assert not [text for text in texts if "{" in text or "}" in text]


def test_every_maker_is_drawn() -> None:
    assert sum(_WEIGHTS.values()) == 100


def test_sums_in_documents_are_true(texts: list[str]) -> None:
    compute = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    signs = {"plus": "+", "minus": "-", "times": "*"}
    text = "\n".join(texts)
    digits = re.findall(r"(\d+) ([+\-*]) (\d+) = (\d+)", text)
    assert len(digits) > 200
    for a, sign, b, result in digits:
        assert compute[sign](int(a), int(b)) == int(result)
    values = {in_words(n): n for n in range(1_000)}
    spelled = re.findall(r"([a-z-]+) (plus|minus|times) ([a-z-]+)(?: is|\? It is) ([a-z -]+)\.", text.lower())
    assert len(spelled) > 100
    for a, word, b, result in spelled:
        assert compute[signs[word]](values[a], values[b]) == values[result]
    written = re.findall(r"([A-Za-z-]+) (plus|minus|times) ([a-z-]+) is written (\d+)([+*-])(\d+)", text)
    assert len(written) > 200
    for a, word, b, da, sign, db in written:
        assert (in_words(int(da)), signs[word], in_words(int(db))) == (a.lower(), sign, b)


def test_letters_in_documents_are_true(texts: list[str]) -> None:
    text = "\n".join(texts)
    counted = re.findall(r"The letter (\w) appears (\d+) times? in '(\w+)'", text)
    assert len(counted) > 200
    assert all(word.count(letter) == int(count) for letter, count, word in counted)
    spelled = re.findall(r"^(\w+):((?:\w,)*\w)$", text, re.MULTILINE)
    assert len(spelled) > 100
    assert all(",".join(word) == letters for word, letters in spelled)


def test_letters_of_lists_are_true(texts: list[str]) -> None:
    checked = 0
    for text in texts:
        for block in re.split(r"\n\n(?=[^\n]*\n*- )", text):
            letters = dict(re.findall(r"^- (.+)=([A-Z])$", block, re.MULTILINE))
            for item, letter in re.findall(r"The letter of (.+) is ([A-Z])\.", block):
                if item in letters:
                    assert letters[item] == letter, block
                    checked += 1
    assert checked > 100


def test_capitals_in_documents_are_true(texts: list[str]) -> None:
    stated = re.findall(r"The capital of ([A-Za-z ]+?) is ([A-Za-z -]+?)[.,]", "\n".join(texts))
    assert len(stated) > 1_000
    assert {country for country, _ in stated} == set(facts.CAPITALS)
    assert all(facts.CAPITALS[country] == capital for country, capital in stated)


def test_a_quarter_of_the_text_binds_letters(texts: list[str]) -> None:
    bound = sum(len(text) for text in texts if re.search(r"^- .+=.+$", text, re.MULTILINE))
    assert 0.15 < bound / sum(map(len, texts)) < 0.30
