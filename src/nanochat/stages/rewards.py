"""What answers are paid in reinforcement learning: the task's own reward, form, brevity, or a function of yours.

A function stands in a Python file that is named on the command line, and is run in this process as any code of
yours: `def reward(conversation, answer) -> float`, with the conversation as the task has it, its right answer last, and
the text of the model's answer behind the results of its tools.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path

from nanochat.config.rewards import RewardPart
from nanochat.engine.steps import Completion
from nanochat.errors import MissingError, UsageError
from nanochat.evaluation.chat import answer_text
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.special import PYTHON_END, PYTHON_START
from nanochat.tokenizer.tokenizer import Tokenizer

Own = Callable[[Conversation, str], float]


class Reward:
    """The weighted sum of some parts.

    Args:
        parts: what is paid for.
        tokenizer: of the answers.
        max_new_tokens: longest answer.

    Raises:
        MissingError: a file is not there.
        UsageError: a file has no such function, or cannot be run.
    """

    def __init__(self, parts: tuple[RewardPart, ...], tokenizer: Tokenizer, max_new_tokens: int) -> None:
        self._parts = [(part, load_function(part.path, part.function) if part.function else None) for part in parts]
        self._tokenizer = tokenizer
        self._longest = max_new_tokens

    def __call__(self, task: Task, conversation: Conversation, completion: Completion) -> float:
        """What an answer is paid.

        Raises:
            UsageError: a function of a file failed, or gave no number.
        """
        answer = answer_text(self._tokenizer, completion)
        total = 0.0
        for part, own in self._parts:
            if own is not None:
                value = _asked(own, part, conversation, answer)
            elif part.name == "exact":
                value = task.reward(conversation, answer)
            elif part.name == "format":
                value = float(self._is_well_formed(completion))
            else:
                value = 1 - min(1.0, len(completion.tokens) / self._longest)
            total += part.weight * value
        return total

    def _is_well_formed(self, completion: Completion) -> bool:
        """Whether it ends by itself and closes every tool call that it opens."""
        start, end = (self._tokenizer.special(name) for name in (PYTHON_START, PYTHON_END))
        calls = [token for token in completion.tokens if token in (start, end)]
        return completion.stop_reason == "stop" and calls == [start, end] * (len(calls) // 2)


def load_function(path: Path, name: str) -> Own:
    """A function of a Python file.

    Raises:
        MissingError: there is no such file.
        UsageError: the file cannot be run, or has no such function.
    """
    if not path.is_file():
        raise MissingError(f"there is no file {path} to take a reward from", "check the name behind --reward")
    spec = importlib.util.spec_from_file_location(f"nanochat_reward_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever foreign code raises
        raise UsageError(f"{path} cannot be run: {_said(error)}", "mend it, then run the same command") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(
            f"{path} has no function {name}", f"write def {name}(conversation, answer) -> float, or {path.name}:NAME"
        )
    found: Own = function
    return found


def _asked(own: Own, part: RewardPart, conversation: Conversation, answer: str) -> float:
    try:
        value = float(own(conversation, answer))
    except Exception as error:  # whatever foreign code raises
        raise UsageError(
            f"{part.function} of {part.name} failed on the answer {answer[:80]!r}: {_said(error)}",
            "mend it; the run goes on from its last checkpoint",
        ) from error
    if not math.isfinite(value):
        raise UsageError(
            f"{part.function} of {part.name} paid {value} for the answer {answer[:80]!r}", "a reward is a finite number"
        )
    return value


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
