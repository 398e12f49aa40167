"""Scores of tasks during training: a few problems of each at every validation, of the split that recipes are chosen on.

They are told as `val/facts` and so on, apart from those of `nanochat eval chat`, which asks the test problems. With
several tasks there is also `val/score`, the mean of the centred accuracies: 0 is guessing, 1 is perfect.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from nanochat.config.train import ChatTrainConfig
from nanochat.engine.engine import Engine
from nanochat.evaluation.chat import TaskScore, evaluate_task
from nanochat.evaluation.chatcore import centred
from nanochat.runtime.events import VALIDATION, Evaluated
from nanochat.runtime.paths import Paths
from nanochat.runtime.processes import Processes
from nanochat.runtime.stop import CutShort, StopRequest
from nanochat.stages.evaluate import choose_tasks
from nanochat.tasks.hub import Places
from nanochat.tasks.task import Task

MEAN = f"{VALIDATION}score"
PROBLEMS_AT_A_TIME = 50


@dataclass(frozen=True, slots=True)
class Scored:
    """One figure about the model; `score` is None for the mean."""

    name: str
    value: float
    score: TaskScore | None = None

    def event(self, stage: str, step: int) -> Evaluated:
        """As it is told."""
        if self.score is None:
            return Evaluated(stage=stage, step=step, name=self.name, value=self.value)
        low, high = self.score.interval
        return Evaluated(
            stage=stage,
            step=step,
            name=self.name,
            value=self.value,
            n=self.score.n,
            low=low,
            high=high,
            chance=self.score.chance,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scoring:
    """Which tasks, how many problems of each, and how long an answer may be, in tokens."""

    tasks: Mapping[str, Task]
    max_problems: int
    max_new_tokens: int

    def scores(self, engine: Engine, stop: StopRequest, processes: Processes) -> list[Scored]:
        """One figure for each task, and their mean where there are several; the same in every process.

        Raises:
            CutShort: a stop was asked for: in one process after the problems at hand, in several after the task.
        """

        def look(done: int, total: int, correct: int) -> None:
            if processes.world_size == 1 and stop.requested:
                raise CutShort

        scored, plain = [], []
        for task in self.tasks.values():
            score = evaluate_task(
                engine,
                task,
                max_problems=self.max_problems,
                batch_size=PROBLEMS_AT_A_TIME,
                max_new_tokens=self.max_new_tokens,
                on_progress=look,
                processes=processes,
            )
            if processes.any(stop.requested):
                raise CutShort
            plain.append(score)
            scored.append(Scored(VALIDATION + score.name, score.accuracy, score))
        if len(scored) > 1:
            scored.append(Scored(MEAN, statistics.fmean(centred(one.accuracy, one.chance) for one in plain)))
        return scored


def scoring_of(config: ChatTrainConfig, paths: Paths) -> Scoring | None:
    """What a stage is told to score; None where that is nothing.

    Args:
        config: the stage's dials.
        paths: where the data of tasks is.

    Raises:
        UsageError: no such task.
        ConversationError, MissingError, DamagedError, StorageError: a file cannot be used.
    """
    if not config.eval_tasks:
        return None
    tasks = choose_tasks(
        config.eval_tasks,
        config.eval_problems,
        "val",
        places=Places.of(paths, config.task_data),
        unsafe_exec=config.unsafe_exec,
    )
    for task in tasks.values():
        task.prepare()
    return Scoring(
        tasks=tasks,
        max_problems=config.eval_problems,
        max_new_tokens=config.eval_new_tokens,
    )
