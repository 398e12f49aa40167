"""Mixtures: counted, shuffled, and the same for a seed."""

from __future__ import annotations

from random import Random

import pytest

from nanochat.errors import UsageError
from nanochat.tasks.mixture import Mixture, counts_by_weight
from nanochat.tasks.pocket import pocket_tasks


def test_counts_and_order() -> None:
    tasks = pocket_tasks("train", 10)
    mixture = Mixture([(tasks["facts"], None), (tasks["choice"], 25), (tasks["identity"], 4)])
    assert len(mixture) == 39
    assert mixture.counts == {"facts": 10, "choice": 25, "identity": 4}
    names = [mixture.task_of(index).name for index in range(len(mixture))]
    assert {name: names.count(name) for name in set(names)} == mixture.counts
    assert names != sorted(names)
    choices = [mixture[i] for i, name in enumerate(names) if name == "choice"]
    assert len(set(choices)) <= 10
    assert mixture.task_of(0).grade(mixture[0], mixture[0].messages[-1].parts[-1].text)


def test_a_seed_gives_the_same_order() -> None:
    tasks = pocket_tasks("train", 20)
    parts = [(tasks["facts"], None), (tasks["counting"], None)]
    assert list(Mixture(parts, seed=1)) == list(Mixture(parts, seed=1))
    assert list(Mixture(parts, seed=1)) != list(Mixture(parts, seed=2))


def test_the_order_is_that_of_a_list_shuffled_by_the_seed() -> None:
    tasks = pocket_tasks("train", 30)
    parts = [(tasks["facts"], 45), (tasks["identity"], 0), (tasks["choice"], None), (tasks["spelling"], 7)]
    places = [(task, at % len(task)) for task, count in parts for at in range(len(task) if count is None else count)]
    Random(5).shuffle(places)
    mixture = Mixture(parts, seed=5)
    assert list(mixture) == [task[row] for task, row in places]
    assert [mixture.task_of(at) for at in range(len(mixture))] == [task for task, _ in places]


def test_the_end_and_wrong_counts() -> None:
    tasks = pocket_tasks("train", 2)
    mixture = Mixture([(tasks["facts"], None)])
    assert len(list(mixture)) == 2
    with pytest.raises(IndexError):
        mixture[2]
    with pytest.raises(UsageError, match="cannot take"):
        Mixture([(tasks["facts"], -1)])
    with pytest.raises(UsageError, match="cannot take"):
        Mixture([(pocket_tasks("train", 0)["facts"], 5)])


def test_counts_by_weight() -> None:
    assert counts_by_weight([1000, 100], [0.5, 0.5]) == [100, 100]  # what repeats nothing
    assert counts_by_weight([1000, 100], [9, 1]) == [900, 100]
    assert counts_by_weight([1000, 100], [9, 1], 2000) == [1800, 200]
    assert counts_by_weight([10, 0], [1, 0]) == [10, 0]
    for wrong in ([0.0, 0.0], [-1.0, 2.0]):
        with pytest.raises(UsageError, match="weights"):
            counts_by_weight([1, 1], wrong)
