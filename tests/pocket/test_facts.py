"""Spot checks of the tables against what everyone knows."""

from __future__ import annotations

from nanochat.pocket import facts
from nanochat.pocket.numerals import in_words
from nanochat.pocket.wordings import BY_NAME


def test_tables_are_as_large_as_promised() -> None:
    assert 60 <= len(facts.CAPITALS) <= 80
    assert set(facts.CAPITALS) == set(facts.CONTINENTS)
    assert len(set(facts.CAPITALS.values())) == len(facts.CAPITALS)
    assert len(facts.ELEMENTS) >= 30
    assert len(facts.OPPOSITES) >= 100


def test_known_facts() -> None:
    for country, capital, continent in [
        ("Japan", "Tokyo", "Asia"),
        ("the United Kingdom", "London", "Europe"),
        ("Saudi Arabia", "Riyadh", "Asia"),
        ("Mexico", "Mexico City", "North America"),
        ("Kenya", "Nairobi", "Africa"),
        ("Australia", "Canberra", "Oceania"),
    ]:
        assert (facts.CAPITALS[country], facts.CONTINENTS[country]) == (capital, continent)
    assert ("gold", "Au", 79, "metal") in facts.ELEMENTS
    assert dict(BY_NAME["day_after"].facts)["Sunday"] == "Monday"
    assert dict(BY_NAME["day_before"].facts)["Monday"] == "Sunday"
    assert dict(BY_NAME["month_after"].facts)["December"] == "January"
    assert dict(BY_NAME["month_order"].facts)["seventh"] == "July"
    assert sum(facts.MONTH_DAYS) == 365


def test_elements_are_in_order_and_symbols_differ() -> None:
    numbers = [number for _, _, number, _ in facts.ELEMENTS]
    assert numbers == sorted(set(numbers))
    assert len({symbol for _, symbol, _, _ in facts.ELEMENTS}) == len(facts.ELEMENTS)


def test_opposites_go_both_ways_and_each_word_has_one() -> None:
    assert all(facts.OPPOSITES[facts.OPPOSITES[word]] == word for word in facts.OPPOSITES)
    assert len(facts.OPPOSITES) % 2 == 0


def test_legs_fit_the_class() -> None:
    assert facts.LEGS["dog"] == "four"
    assert facts.LEGS["bee"] == "six"
    assert facts.LEGS["spider"] == "eight"
    assert all(facts.LEGS[animal] == "two" for animal, name in facts.CLASSES.items() if name == "bird")
    assert all(facts.LEGS[animal] == "no" for animal, name in facts.CLASSES.items() if name == "fish")


def test_numbers_in_words() -> None:
    assert [in_words(n) for n in (0, 13, 20, 45, 100, 999, 9_801)] == [
        "zero",
        "thirteen",
        "twenty",
        "forty-five",
        "one hundred",
        "nine hundred ninety-nine",
        "nine thousand eight hundred one",
    ]
    assert len({in_words(n) for n in range(10_000)}) == 10_000
