"""What answers are paid."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import script_of, tiny_tokenizer

from nanochat.config.rewards import parse_rewards
from nanochat.engine.steps import Completion
from nanochat.stages.rewards import Reward
from nanochat.tasks.pocket import PocketTask

TASK = PocketTask("problems", "val", 3)


def completion(*pieces: str, stop_reason: Any = "stop") -> Completion:
    tokens = tuple(script_of(tiny_tokenizer(), *pieces))
    return Completion(tokens, (False,) * len(tokens), (), "", stop_reason)


def paid(text: str, answer: Completion, max_new_tokens: int = 100) -> float:
    return Reward(parse_rewards(text), tiny_tokenizer(), max_new_tokens)(TASK, TASK[0], answer)


def right_answer() -> Completion:
    python, output, text = (part.text for part in TASK[0].messages[-1].parts)
    call = ("<|python_start|>", python, "<|python_end|>", "<|output_start|>", output, "<|output_end|>")
    return completion(*call, text)


def test_exact_is_what_the_task_pays() -> None:
    assert paid("exact", right_answer()) == 1
    assert paid("exact", completion("The answer is 1000.")) == 0
    assert paid("exact:0.5", right_answer()) == 0.5


def test_format_wants_an_end_and_closed_calls() -> None:
    assert paid("format", right_answer()) == 1
    assert paid("format", completion("12")) == 1
    assert paid("format", completion("12", stop_reason="length")) == 0
    assert paid("format", completion("<|python_start|>", "1+1")) == 0
    assert paid("format", completion("1+1", "<|python_end|>")) == 0
    assert paid("format", completion("<|python_end|>", "1+1", "<|python_start|>")) == 0


def test_length_pays_what_is_left_unused() -> None:
    assert paid("length", completion("x" * 25)) == 0.75
    assert paid("length", completion("x" * 100)) == 0
    assert paid("length", completion()) == 1


def test_parts_add_up() -> None:
    answer = right_answer()
    assert paid("exact,format:0.1,length:-1", answer) == pytest.approx(1.1 - (1 - len(answer.tokens) / 100))
