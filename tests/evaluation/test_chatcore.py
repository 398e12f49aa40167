"""ChatCORE: the mean of centred accuracies, and an interval that covers it."""

from __future__ import annotations

from random import Random

import pytest

from nanochat.evaluation.chat import TaskScore
from nanochat.evaluation.chatcore import centred, chatcore

NEEDED = ("arc_easy", "gsm8k")


def score(name: str, correct: int, n: int, chance: float) -> TaskScore:
    return TaskScore(name=name, correct=correct, n=n, chance=chance)


def test_guessing_is_0_and_perfect_is_1() -> None:
    assert (centred(0.25, 0.25), centred(1.0, 0.25), centred(0.0, 0.25)) == (0.0, 1.0, -1 / 3)


def test_the_mean() -> None:
    scores = {"arc_easy": score("arc_easy", 40, 100, 0.25), "gsm8k": score("gsm8k", 10, 100, 0.0)}
    core = chatcore(scores, NEEDED, ("spellingbee",))
    assert core is not None
    assert core.value == pytest.approx(((0.4 - 0.25) / 0.75 + 0.1) / 2)
    assert core.tasks == NEEDED
    with_bee = chatcore(scores | {"spellingbee": score("spellingbee", 90, 100, 0.0)}, NEEDED, ("spellingbee",))
    assert with_bee is not None
    assert with_bee.value == pytest.approx((0.2 + 0.1 + 0.9) / 3)
    assert with_bee.tasks == (*NEEDED, "spellingbee")


def test_a_task_that_is_missing_leaves_no_mean() -> None:
    assert chatcore({"arc_easy": score("arc_easy", 1, 2, 0.25)}, NEEDED) is None


def test_the_interval_covers_the_truth() -> None:
    rnd = Random(3)
    truth, inside = (0.5, 0.05), 0
    value = (centred(truth[0], 0.25) + truth[1]) / 2
    for _ in range(400):
        drawn = [sum(rnd.random() < share for _ in range(80)) for share in truth]
        pair = zip(NEEDED, drawn, (0.25, 0.0), strict=True)
        core = chatcore({name: score(name, right, 80, chance) for name, right, chance in pair}, NEEDED)
        assert core
        inside += core.low <= value <= core.high
    assert 0.92 < inside / 400 < 0.985
