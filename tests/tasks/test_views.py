"""Parts of a task, its conversations in another order, and several tasks one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from nanochat.errors import UsageError
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tasks.task import Task
from nanochat.tasks.views import Chain, shuffled, view
from nanochat.tokenizer.conversation import Conversation, Message


class Numbers(Task):
    """A hundred questions about themselves, in ten groups."""

    name = "numbers"
    chance = 0.01

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Conversation:
        index = range(100)[index]
        return Conversation((Message.text("user", f"{index}?"), Message.text("assistant", str(index))))

    def grade(self, conversation: Conversation, answer: str) -> bool:
        return answer == conversation.messages[1].content

    def reward(self, conversation: Conversation, answer: str) -> float:
        return 0.5

    def group(self, index: int) -> str:
        return str(index % 10)


def said(task: Task) -> list[int]:
    return [int(conversation.messages[1].content) for conversation in task]


@pytest.mark.parametrize("bounds", [(0, 10, 1), (90, None, 1), (5, 50, 7), (-10, None, 2), (80, 20, -3)])
def test_a_view_is_a_slice(bounds: tuple[int, int | None, int]) -> None:
    part = view(Numbers(), *bounds)
    assert said(part) == list(range(100))[slice(*bounds)]
    assert [part.group(at) for at in range(len(part))] == [str(number % 10) for number in said(part)]
    assert (part.name, part.chance, part.kind) == ("numbers", 0.01, "generative")
    assert part.grade(part[0], part[0].messages[1].content)
    assert part.reward(part[0], "") == 0.5


def test_all_of_it_is_the_task_itself() -> None:
    task = Numbers()
    assert view(task) is task
    assert view(task, 0, 500) is task


def test_what_leaves_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="leave nothing of the 100 conversations of numbers"):
        view(Numbers(), 100)
    with pytest.raises(UsageError, match="step of numbers is 0"):
        view(Numbers(), step=0)


def test_the_order_of_the_reference() -> None:
    task = shuffled(Numbers())
    assert said(task) == np.random.default_rng(42).permutation(100).tolist()
    assert said(view(task, 10, 30)) == np.random.default_rng(42).permutation(100)[10:30].tolist()
    assert said(shuffled(Numbers(), 7)) != said(task)


def test_examples_are_others_of_the_task_and_the_same_every_time() -> None:
    task = shuffled(Numbers())
    for index in (0, 5, 99):
        shown = task.examples(index, 5)
        assert len(shown) == 5
        assert task[index] not in shown
        assert shown == task.examples(index, 5)
    assert task.examples(0, 5) != task.examples(1, 5)
    assert len(view(Numbers(), 0, 3).examples(0, 50)) == 50  # of the whole task: a part may be small


def test_one_after_the_other() -> None:
    tasks = pocket_tasks("train", 3)
    chain = Chain([(tasks["facts"], None), (tasks["choice"], 0), (tasks["identity"], 7)])
    expected = [*tasks["facts"], *tasks["identity"], *tasks["identity"], tasks["identity"][0]]
    assert list(chain) == expected
    assert chain[-1] == expected[-1]
    assert chain.counts == {"facts": 3, "choice": 0, "identity": 7}
    with pytest.raises(IndexError):
        chain[10]
    with pytest.raises(UsageError, match="cannot take -1"):
        Chain([(tasks["facts"], -1)])
