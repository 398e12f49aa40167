"""Scoring a task with models whose answers are known."""

from __future__ import annotations

from typing import Literal

import pytest
from doubles import ScriptedModel, UniformModel, script_of, tiny_tokenizer

from nanochat.engine.engine import Engine
from nanochat.evaluation.chat import TaskScore, evaluate_task
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation, Message

TOKENIZER = tiny_tokenizer()
RIGHT = "42"


class Question(Task):
    """Ten times the same question."""

    name = "question"
    chance = 0.25

    def __init__(self, kind: Literal["generative", "categorical"] = "generative") -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Conversation:
        return Conversation((Message.text("user", f"Question {index}?"), Message.text("assistant", RIGHT)))

    def letters(self, conversation: Conversation) -> tuple[str, ...]:
        return ("A", "B", "C", "D")

    def grade(self, conversation: Conversation, answer: str) -> bool:
        return answer in (RIGHT, "C")


def score(model: UniformModel, task: Task, **limits: int) -> TaskScore:
    engine = Engine(model, TOKENIZER)  # type: ignore[arg-type]
    return evaluate_task(engine, task, **{"max_problems": 10, "batch_size": 4, "max_new_tokens": 8, **limits})


@pytest.mark.parametrize(("said", "correct"), [(RIGHT, 10), ("41", 0), ("42 or 43", 0)])
def test_answers_are_graded(said: str, correct: int) -> None:
    result = score(ScriptedModel(script_of(TOKENIZER, said)), Question())
    assert (result.correct, result.n, result.accuracy) == (correct, 10, correct / 10)


def test_at_most_so_many_problems_and_progress() -> None:
    seen: list[tuple[int, int, int]] = []
    engine = Engine(ScriptedModel(script_of(TOKENIZER, RIGHT)), TOKENIZER)  # type: ignore[arg-type]
    result = evaluate_task(
        engine,
        Question(),
        max_problems=7,
        batch_size=3,
        max_new_tokens=8,
        on_progress=lambda *at: seen.append(at),
    )
    assert (result.correct, result.n) == (7, 7)
    assert seen == [(3, 7, 3), (6, 7, 6), (7, 7, 7)]


def test_what_was_said_to_the_calculator_is_no_answer() -> None:
    tool = script_of(TOKENIZER, "<|python_start|>", "6*7", "<|python_end|>")
    result = score(ScriptedModel(tool), Question(), max_new_tokens=16)
    assert result.correct == 0


def test_the_likeliest_letter_is_the_answer() -> None:
    result = score(ScriptedModel(script_of(TOKENIZER, "C")), Question("categorical"))
    assert (result.correct, result.n) == (10, 10)
    assert score(ScriptedModel(script_of(TOKENIZER, "B")), Question("categorical")).correct == 0
    # a uniform model takes the first letter
    assert score(UniformModel(), Question("categorical")).correct == 0


def test_score_as_plain_values() -> None:
    result = TaskScore(name="x", correct=3, n=4, chance=0.25).to_dict()
    assert result["accuracy"] == 0.75
    assert 0 < result["low"] < 0.75 < result["high"] < 1
    assert TaskScore(name="x", correct=0, n=0, chance=0.0).accuracy == 0.0


class Parts(Question):
    """The same, in two parts."""

    def group(self, index: int) -> str:
        return "even" if index % 2 == 0 else "odd"

    def grade(self, conversation: Conversation, answer: str) -> bool:
        return answer == RIGHT and conversation.messages[0].content in ("Question 0?", "Question 1?", "Question 2?")


def test_parts_are_scored_by_themselves() -> None:
    result = score(ScriptedModel(script_of(TOKENIZER, RIGHT)), Parts())
    assert result.groups == {"even": (2.0, 5), "odd": (1.0, 5)}
    assert result.to_dict()["groups"]["even"] == {"accuracy": 0.4, "correct": 2.0, "n": 5}
    assert "groups" not in score(UniformModel(), Question()).to_dict()


def test_several_answers_to_each_problem() -> None:
    """A uniform model says any letter: one in so many answers is right, and the seed decides which."""

    class Vowels(Question):
        def grade(self, conversation: Conversation, answer: str) -> bool:
            return answer[:1] < "M"

    def sampled(**settings: int) -> TaskScore:
        engine = Engine(UniformModel(), TOKENIZER)  # type: ignore[arg-type]
        return evaluate_task(
            engine,
            Vowels(),
            **{"max_problems": 10, "batch_size": 50, "max_new_tokens": 2, "num_samples": 4, "seed": 1, **settings},
            temperature=1.0,
        )

    result = sampled()
    assert (result.n, result.samples, list(result.pass_at)) == (10, 4, [1, 2, 4])
    assert 0 < result.correct < 40
    assert result.accuracy == pytest.approx(result.pass_at[1][0])
    values = [value for value, _, _ in result.pass_at.values()]
    assert values == sorted(values)
    assert all(low < value < high or value in (0, 1) for value, low, high in result.pass_at.values())
    assert result.interval == result.pass_at[1][1:]
    assert set(result.to_dict()["pass_at"]) == {"1", "2", "4"}
    for batch in (1, 8, 13):
        assert sampled(batch_size=batch) == result
    assert sampled(seed=2) != result


def test_letters_have_one_answer_whatever_is_asked_for() -> None:
    result = score(ScriptedModel(script_of(TOKENIZER, "C")), Question("categorical"), num_samples=4)
    assert (result.correct, result.n, result.samples, result.pass_at) == (10, 10, 1, {})


@pytest.mark.parametrize("kind", ["generative", "categorical"])
def test_problems_that_do_not_fit_are_wrong_and_counted(kind: Literal["generative", "categorical"]) -> None:
    class Long(Question):
        def __getitem__(self, index: int) -> Conversation:
            words = "word " * (2000 if index < 3 else 1)
            return Conversation((Message.text("user", words), Message.text("assistant", RIGHT)))

    said = RIGHT if kind == "generative" else "C"
    result = score(ScriptedModel(script_of(TOKENIZER, said)), Long(kind))
    assert (result.correct, result.n, result.too_long) == (7, 10, 3)


def test_a_task_says_how_long_its_answers_are() -> None:
    class Short(Question):
        max_new_tokens = 1

    scripted = ScriptedModel(script_of(TOKENIZER, RIGHT))
    assert score(scripted, Short(), max_new_tokens=0).correct == 0
    assert score(scripted, Question(), max_new_tokens=0).correct == 10
