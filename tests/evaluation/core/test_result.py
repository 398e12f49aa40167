"""Scores, intervals, and two results beside each other."""

from __future__ import annotations

import json
import math
import random

import pytest

from nanochat.errors import UsageError
from nanochat.evaluation.core.difference import compare
from nanochat.evaluation.core.result import CoreResult, CoreScore, read_result
from nanochat.evaluation.interval import wilson
from nanochat.evaluation.paired import normal_p_value, paired


def score(name: str, right: int, n: int, chance: float = 0.25, sha256: str = "a") -> CoreScore:
    return CoreScore(name=name, chance=chance, shots=3, correct=(True,) * right + (False,) * (n - right), sha256=sha256)


def test_a_task() -> None:
    one = score("one", 7, 10)
    assert (one.accuracy, one.n, one.interval) == (0.7, 10, wilson(7, 10))
    assert one.centred == pytest.approx(0.6)


def test_core_is_the_plain_mean() -> None:
    result = CoreResult(tasks=(score("one", 7, 10), score("two", 0, 1000, 0.0)))
    assert result.value == pytest.approx(0.3)
    low, high = result.interval
    assert (low + high) / 2 == pytest.approx(0.3)


def test_the_interval_of_core_covers_what_it_should() -> None:
    """Models of known ability, asked again and again: the truth is inside about 95 times of 100."""
    generator = random.Random(0)
    abilities = [(0.3, 40, 0.25), (0.02, 60, 0.0), (0.6, 30, 0.5), (0.9, 50, 0.2)]
    truth = sum((p - chance) / (1 - chance) for p, _, chance in abilities) / len(abilities)
    inside = 0
    for _ in range(1000):
        tasks = tuple(
            score(str(at), sum(generator.random() < p for _ in range(n)), n, chance)
            for at, (p, n, chance) in enumerate(abilities)
        )
        low, high = CoreResult(tasks=tasks).interval
        inside += low <= truth <= high
    assert 930 <= inside <= 985


def test_kept_and_read_again() -> None:
    result = CoreResult(tasks=(score("one", 7, 10), score("two", 0, 3, 0.0)))
    kept = json.loads(json.dumps(result.to_dict()))
    assert read_result(kept) == result
    assert kept["tasks"]["one"]["items"] == "1111111000"
    for wrong in (None, {}, {"tasks": {}}, {"tasks": {"one": {}}}, {"tasks": {"one": 1}}, {"tasks": []}):
        assert read_result(wrong) is None


def test_paired_counts_only_what_differs() -> None:
    first = [True] * 50 + [True] * 2 + [False] * 9 + [False] * 39
    second = [True] * 50 + [False] * 2 + [True] * 9 + [False] * 39
    pair = paired(first, second)
    assert (pair.n, pair.gained, pair.lost, pair.difference) == (100, 9, 2, pytest.approx(0.07))
    # two-sided sign test of 2 of 11: 2 * (1 + 11 + 55) / 2**11
    assert pair.p_value == pytest.approx(134 / 2048)
    low, high = pair.interval
    assert low < 0.07 < high
    assert high - low == pytest.approx(4 * 0.0325, rel=0.1)
    assert paired([True], [True]).p_value == 1.0
    with pytest.raises(ValueError, match="zip"):
        paired([True], [])


def test_the_sign_test_of_many() -> None:
    pair = paired([True] * 900 + [False] * 1100, [False] * 900 + [True] * 1100)
    assert pair.p_value == pytest.approx(normal_p_value(200, 2000), rel=0.15)


def test_equal_models_rarely_differ() -> None:
    generator = random.Random(1)
    small = 0
    for _ in range(400):
        first, second = ([generator.random() < 0.4 for _ in range(60)] for _ in range(2))
        small += paired(first, second).p_value < 0.05
    assert small <= 20  # the exact test keeps below 5%


def test_two_results() -> None:
    first = CoreResult(tasks=(score("one", 5, 10), score("two", 5, 10), score("three", 5, 10, 0.0)))
    second = CoreResult(tasks=(score("one", 9, 10), score("two", 5, 10, sha256="b"), score("four", 1, 2)))
    found = compare(first, second)
    assert [task.name for task in found.tasks] == ["one"]
    assert found.others == ("two", "three", "four")
    assert found.difference == pytest.approx(0.4 / 0.75)
    low, high = found.interval
    assert low < found.difference < high
    assert 0 < found.p_value < 0.05
    assert math.isclose(compare(first, first).difference, 0.0)
    assert compare(first, first).p_value == 1.0
    with pytest.raises(UsageError, match="not asked the same"):
        compare(first, CoreResult(tasks=(score("four", 1, 2),)))
