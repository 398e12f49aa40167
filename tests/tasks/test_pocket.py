"""Pocket tasks: their own answers are right, others are not."""

from __future__ import annotations

import pytest

from nanochat.errors import UsageError
from nanochat.pocket.conversations import KINDS
from nanochat.tasks.pocket import TEST_KINDS, PocketTask, pocket_tasks
from nanochat.tokenizer.conversation import Conversation


def final_text(conversation: Conversation) -> str:
    parts = conversation.messages[-1].parts
    after = max((i + 1 for i, part in enumerate(parts) if part.kind == "output"), default=0)
    return "".join(part.text for part in parts[after:])


@pytest.mark.parametrize("kind", TEST_KINDS)
def test_reference_answers_are_right_and_those_of_others_wrong(kind: str) -> None:
    task = pocket_tasks("test", 120)[kind]
    conversations = list(task)
    wrong = 0
    for first, second in zip(conversations, conversations[1:] + conversations[:1], strict=True):
        assert task.grade(first, final_text(first))
        assert not task.grade(first, "")
        assert not task.grade(first, "I do not know.")
        wrong += not task.grade(first, final_text(second))
    # Two neighbours often have the same short answer, above all when letters are counted.
    assert wrong > (0.4 if kind == "counting" else 0.6) * len(conversations)


@pytest.mark.parametrize("kind", KINDS)
def test_training_tasks_grade_too(kind: str) -> None:
    task = pocket_tasks("train", 40)[kind]
    assert len(task) == 40
    assert all(task.grade(conversation, final_text(conversation)) for conversation in task)


def test_test_prompts_never_repeat() -> None:
    for kind, task in pocket_tasks("test").items():
        prompts = [conversation.messages[:-1] for conversation in task]
        assert len(set(prompts)) == len(prompts)
        assert len(task) == 200 or kind == "identity"
        assert len(task) >= 12


def test_sizes() -> None:
    assert {len(task) for task in pocket_tasks("train").values()} == {1_000}
    tasks = pocket_tasks("train", 10, sizes={"choice": 30})
    assert (len(tasks["facts"]), len(tasks["choice"])) == (10, 30)


def test_choice_is_categorical() -> None:
    task = pocket_tasks("test", 5)["choice"]
    assert (task.kind, task.chance) == ("categorical", 0.25)
    assert task.letters(task[0]) == ("A", "B", "C", "D")
    facts = pocket_tasks("test", 5)["facts"]
    assert (facts.kind, facts.chance) == ("generative", 0.2)
    with pytest.raises(NotImplementedError):
        facts.letters(facts[0])


def test_letters_are_those_of_the_list() -> None:
    task = pocket_tasks("train", 40)["lookup"]
    seen = {task.letters(conversation) for conversation in task}
    assert ("A", "B", "C", "D") in seen
    assert len(seen) > 5


def test_chance_is_the_score_of_the_commonest_answer() -> None:
    task = pocket_tasks("test")["counting"]
    answers = [final_text(conversation) for conversation in task]
    scores = [sum(task.grade(c, str(count)) for c in task) / len(answers) for count in range(6)]
    assert task.chance == max(scores)
    assert 0.2 < task.chance < 0.7


def test_indices_end() -> None:
    task = PocketTask("facts", "train", 3)
    assert len(list(task)) == 3
    with pytest.raises(IndexError):
        task[3]


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="no pocket task"):
        PocketTask("chess", "train", 3)
    with pytest.raises(UsageError, match="negative"):
        PocketTask("facts", "train", -1)
    tasks = pocket_tasks("test", 3)
    with pytest.raises(UsageError, match="none of the task"):
        tasks["facts"].grade(tasks["spelling"][0], "Tokyo")
