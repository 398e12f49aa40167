"""Accuracy of a model on tasks: sampled answers that are graded, or letters that are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from nanochat.config.chat import SamplingConfig
from nanochat.engine.engine import Engine
from nanochat.engine.steps import Completion
from nanochat.evaluation.interval import wilson
from nanochat.evaluation.pass_at_k import ks_of, mean_and_interval, pass_at_k
from nanochat.evaluation.prompts import AsChat, Asking
from nanochat.model.gpt import ROPE_LENGTH_FACTOR
from nanochat.runtime.processes import ALONE, Processes
from nanochat.tasks.task import Task
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.tokenizer import Tokenizer

Interval = tuple[float, float, float]
"""A value with the lower and the upper end of its 95% interval."""


SEEDS_APART = 1_000_003
"""Answers of one seed: the next seed's are others. A generator on a CPU takes 32 bits of a seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskScore:
    """How many answers to `n` problems were right, with the 95% interval of the share, beside chance.

    Attributes:
        name: of the task.
        correct: right answers, of all samples.
        n: problems.
        chance: share that guessing gets right.
        samples: answers to each problem.
        pass_at: by k, the share of problems of which one of k answers is right; with several samples only.
        groups: (right, problems) by part of the task, one answer each counted, where it has parts.
        too_long: problems that the model could not read or had no room to answer; they count as wrong.
        right: right answers to each problem, in the order they were asked.
    """

    name: str
    correct: int
    n: int
    chance: float
    samples: int = 1
    pass_at: Mapping[int, Interval] = field(default_factory=dict)
    groups: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    too_long: int = 0
    right: tuple[int, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / (self.n * self.samples) if self.n else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """95% interval of the accuracy."""
        if 1 in self.pass_at:
            return self.pass_at[1][1:]
        return wilson(self.correct, self.n)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; what a plain task does not have is left out. `items` has a digit for each problem, or
        with several answers a number.
        """
        low, high = self.interval
        pass_at = {str(k): dict(zip(("value", "low", "high"), value, strict=True)) for k, value in self.pass_at.items()}
        groups = {
            name: {"accuracy": right / count, "correct": right, "n": count}
            for name, (right, count) in self.groups.items()
        }
        return {
            "accuracy": self.accuracy,
            "correct": self.correct,
            "n": self.n,
            "low": low,
            "high": high,
            "chance": self.chance,
            **({"samples": self.samples, "pass_at": pass_at} if pass_at else {}),
            **({"groups": groups} if groups else {}),
            **({"too_long": self.too_long} if self.too_long else {}),
            **(
                {"items": list(self.right) if self.samples > 1 else "".join(map(str, self.right))} if self.right else {}
            ),
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
    max_new_tokens: int = 0,
    num_samples: int = 1,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int = 0,
    asking: Asking | None = None,
    on_progress: Callable[[int, int, int], None] | None = None,
    processes: Processes = ALONE,
) -> TaskScore:
    """Score one task, greedily unless told otherwise.

    Args:
        engine: the model.
        task: its first `max_problems` conversations are asked.
        max_problems: at most.
        batch_size: answers at a time; the score does not depend on it in float32.
        max_new_tokens: longest answer of a generative task; 0 is the task's own.
        num_samples: answers to each problem of a generative task; a categorical one has one.
        temperature: of sampling; 0 takes the likeliest token.
        top_k: sample from this many tokens only.
        seed: of sampling: an answer depends on it, its problem and its number, and not on what is beside it.
        asking: how problems are put; by default as chat.
        on_progress: called with (problems done, of how many, right so far), by this process.
        processes: those that share the problems; each returns the score of all.
    """
    total = min(len(task), max_problems)
    # blocks, so that the seed of an answer follows from the number of its problem
    mine = range(*(total * edge // processes.world_size for edge in (processes.rank, processes.rank + 1)))
    asking = asking or AsChat(engine.tokenizer)
    samples = 1 if task.kind == "categorical" else num_samples
    at_a_time = max(1, batch_size // samples)
    right, too_long = [0] * total, 0
    for at in range(0, len(mine), at_a_time):
        numbers = mine[at : at + at_a_time]
        problems = [task[number] for number in numbers]
        prompts = [asking.prompt(task, number, problem) for number, problem in zip(numbers, problems, strict=True)]
        if task.kind == "categorical":
            limit = engine.context * ROPE_LENGTH_FACTOR
            answers = _letters(engine, task, asking, problems, prompts, limit)
        else:
            limit = engine.context - 1
            sampling = SamplingConfig(
                temperature=temperature,
                top_k=top_k,
                seed=(seed * SEEDS_APART + numbers[0] * samples) % 2**63,
                max_new_tokens=max_new_tokens or task.max_new_tokens,
                stop=asking.stop,
            )
            answers = _generate(engine, asking, prompts, sampling, samples)
        too_long += sum(len(prompt) > limit for prompt in prompts)
        for number, problem, said in zip(numbers, problems, answers, strict=True):
            right[number] = sum(task.grade(problem, answer) for answer in said)
        if on_progress:
            on_progress(at + len(problems), len(mine), sum(right))
    *counts, beyond = processes.total([*right, too_long])
    return _score(task, [int(count) for count in counts], samples, int(beyond))


def _letters(
    engine: Engine,
    task: Task,
    asking: Asking,
    problems: Sequence[Conversation],
    prompts: Sequence[Sequence[int]],
    limit: int,
) -> list[list[str]]:
    """The likeliest letter of each problem; none where the prompt is beyond the limit."""
    answers: list[list[str]] = [[] for _ in problems]
    fitting = [number for number, prompt in enumerate(prompts) if len(prompt) <= limit]
    if not fitting:
        return answers
    logits = engine.next_logits([prompts[number] for number in fitting])  # (N, V)
    for row, number in enumerate(fitting):
        letters = task.letters(problems[number])
        ids = torch.tensor(asking.letter_ids(letters), device=logits.device)
        answers[number] = [letters[int(logits[row, ids].argmax())]]
    return answers


def _generate(
    engine: Engine, asking: Asking, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, samples: int
) -> list[list[str]]:
    """So many answers to each prompt."""
    completions = engine.generate_batch([prompt for prompt in prompts for _ in range(samples)], sampling)
    texts = [
        completion.text if asking.stop else answer_text(engine.tokenizer, completion) for completion in completions
    ]
    return [texts[at : at + samples] for at in range(0, len(texts), samples)]


def _score(task: Task, right: Sequence[int], samples: int, too_long: int) -> TaskScore:
    groups: dict[str, tuple[float, int]] = {}
    for number, count in enumerate(right):
        if name := task.group(number):
            before, problems = groups.get(name, (0.0, 0))
            groups[name] = (before + count / samples, problems + 1)
    pass_at = {}
    if samples > 1:
        for k in ks_of(samples):
            pass_at[k] = mean_and_interval([pass_at_k(samples, count, k) for count in right], samples)
    return TaskScore(
        name=task.name,
        correct=sum(right),
        n=len(right),
        chance=task.chance,
        samples=samples,
        pass_at=pass_at,
        groups=dict(sorted(groups.items())),
        too_long=too_long,
        right=tuple(right),
    )
