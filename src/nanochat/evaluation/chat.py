"""Accuracy of a model on tasks: sampled answers that are graded, or letters that are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from nanochat.config.chat import SamplingConfig
from nanochat.engine.engine import Engine
from nanochat.engine.steps import Completion
from nanochat.evaluation.interval import wilson
from nanochat.runtime.processes import ALONE, Processes
from nanochat.tasks.task import Task
from nanochat.tokenizer.render import render_for_completion
from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """How many of `n` were right, with the 95% interval of the share, beside chance."""

    name: str
    correct: int
    n: int
    chance: float

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.n if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy."""
        return wilson(self.correct, self.n)

    def to_dict(self) -> dict[str, float | int]:
        """Plain values for JSON."""
        low, high = self.interval
        return {
            "accuracy": self.accuracy,
            "correct": self.correct,
            "n": self.n,
            "low": low,
            "high": high,
            "chance": self.chance,
        }


def answer_text(tokenizer: Tokenizer, completion: Completion) -> str:
    """What the answer says to the person: without tool calls, and after the last tool's output."""
    start, end = tokenizer.special("<|python_start|>"), tokenizer.special("<|python_end|>")
    output, output_end = tokenizer.special("<|output_start|>"), tokenizer.special("<|output_end|>")
    kept: list[int] = []
    hidden = False
    for token in completion.tokens:
        if token in (start, output):
            hidden = True
        elif token == output_end:
            kept, hidden = [], False
        elif token == end:
            hidden = False
        elif not hidden:
            kept.append(token)
    return tokenizer.decode(kept)


def evaluate_task(
    engine: Engine,
    task: Task,
    *,
    max_problems: int,
    batch_size: int,
    max_new_tokens: int,
    on_progress: Callable[[int, int, int], None] | None = None,
    processes: Processes = ALONE,
) -> TaskScore:
    """Score one task, greedily.

    Args:
        engine: the model.
        task: its first `max_problems` conversations are asked.
        max_problems: at most.
        batch_size: problems at a time; the score does not depend on it in float32.
        max_new_tokens: longest answer of a generative task.
        on_progress: called with (problems done, of how many, right so far), by this process.
        processes: those that share the problems; each returns the score of all.
    """
    total = min(len(task), max_problems)
    mine = range(processes.rank, total, processes.world_size)
    sampling = SamplingConfig(temperature=0.0, top_k=None, max_new_tokens=max_new_tokens)
    correct = 0
    for at in range(0, len(mine), batch_size):
        problems = [task[i] for i in mine[at : at + batch_size]]
        prompts = [render_for_completion(engine.tokenizer, problem) for problem in problems]
        if task.kind == "categorical":
            logits = engine.next_logits(prompts)  # (N, V)
            answers = []
            for row, problem in enumerate(problems):
                letters = task.letters(problem)
                ids = torch.tensor([engine.tokenizer.encode(letter)[0] for letter in letters])
                answers.append(letters[int(logits[row, ids.to(logits.device)].argmax())])
        else:
            completions = engine.generate_batch(prompts, sampling)
            answers = [answer_text(engine.tokenizer, completion) for completion in completions]
        correct += sum(task.grade(problem, answer) for problem, answer in zip(problems, answers, strict=True))
        if on_progress:
            on_progress(at + len(problems), len(mine), correct)
    correct = int(processes.total([correct])[0])
    return TaskScore(name=task.name, correct=correct, n=total, chance=task.chance)
