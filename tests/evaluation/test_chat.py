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
