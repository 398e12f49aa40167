"""Scores of tasks as they are kept beside a model: a file for each way of asking, written task by task.

    eval/pocket.json, chat.json, files.json         the test problems as they stand
         pocket-val.json, chat-5shot-8x.json, ...   another split, behind examples, several answers

Each task has a digit for each problem, and the SHA-256 of what was asked, so that two models can be compared on the
same problems.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nanochat.checkpoints.evals import FOLDER, keep_eval, number, read_eval, read_evals
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.evaluation.chat import TaskScore
from nanochat.evaluation.chatcore import ChatCore, chatcore
from nanochat.runtime.context import RunContext
from nanochat.tasks.names import CHATCORE, DESCRIPTIONS, is_file
from nanochat.tasks.task import Task

ALSO_IN_CORE = ("spellingbee",)
SETTINGS = ("max_problems", "shots", "max_new_tokens", "temperature", "seed")
"""What scores in one file have in common, as far as it was set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptScore:
    """One task of a model.

    Attributes:
        accuracy: share of right answers.
        right: one for each problem, in order.
        sha256: of the problems with their answers.
        max_new_tokens: longest answer, where it was set.
    """

    accuracy: float
    right: tuple[bool, ...]
    sha256: str
    max_new_tokens: int | None

    def alike(self, other: KeptScore) -> bool:
        """Whether the same problems were asked in the same way."""
        return (self.sha256, len(self.right), self.max_new_tokens) == (
            other.sha256,
            len(other.right),
            other.max_new_tokens,
        )


def core_of(scores: Iterable[TaskScore]) -> ChatCore | None:
    """ChatCORE of these scores; None where a task of it is missing."""
    return chatcore({score.name: score for score in scores}, CHATCORE, ALSO_IN_CORE)


def keep_score(
    stage_dir: Path, score: TaskScore, task: Task, step: int, config: ChatEvalConfig, elapsed_s: float
) -> None:
    """Write a score beside those that stand there, and ChatCORE where all of its tasks are among them.

    Only those stay in the file that were asked alike: of this step, as many problems, sampled as this one is.

    Raises:
        StorageError: the folder cannot be written.
    """
    name = _file_of(score.name, config)
    before = read_eval(stage_dir / FOLDER, name, step)
    about = _about(config)
    tasks = dict(before.get("tasks", {})) if _same_asking(before, about) else {}
    tasks[score.name] = {
        **score.to_dict(),
        "problems_sha256": _digest(task, score.n),
        "elapsed_s": round(elapsed_s, 2),
    }
    core = chatcore({name: _Kept(values) for name, values in tasks.items()}, CHATCORE, ALSO_IN_CORE)
    seconds = sum(number(values.get("elapsed_s")) or 0.0 for values in tasks.values())
    value = {"step": step, **about, "elapsed_s": round(seconds, 2), "tasks": tasks}
    keep_eval(stage_dir / FOLDER, name, value | ({"chatcore": core.to_dict()} if core else {}))


def read_scores(folder: Path, step: int) -> dict[str, KeptScore]:
    """What was kept of a step, problem by problem; behind the name of a task stands how else it was asked.

    Scores of several answers to each problem are left out.

    Raises:
        StorageError: a file cannot be read.
    """
    found: dict[str, KeptScore] = {}
    for stem in read_evals(folder.parent):
        name = stem.partition("@")[0]
        evaluation = read_eval(folder, name, step)
        tasks = evaluation.get("tasks")
        how = name.partition("-")[2].replace("-", ", ")
        for task, values in tasks.items() if isinstance(tasks, Mapping) else ():
            score = _read_score(values, evaluation.get("max_new_tokens"))
            if score:
                found[f"{task} ({how})" if how else task] = score
    return found


def is_evaluated(
    context: RunContext, tag: str, stage: str, step: int, tasks: Iterable[str], config: ChatEvalConfig
) -> bool:
    """Whether these pocket tasks have been scored at this step, asked as the config says."""
    found = read_eval(context.paths.model_dir(tag, stage) / FOLDER, "pocket", step)
    return _same_asking(found, _about(config)) and set(tasks) <= set(found.get("tasks", {}))


def _file_of(name: str, config: ChatEvalConfig) -> str:
    """The file that keeps the score of a task: files of the user's apart from pocket and the rest, val from test."""
    if is_file(name):
        return f"files{config.variant}"
    kind = "chat" if name in DESCRIPTIONS else "pocket"
    return f"{kind}{'-val' if config.split == 'val' else ''}{config.variant}"


def _about(config: ChatEvalConfig) -> dict[str, Any]:
    """How problems were asked, as a file of scores says it."""
    about: dict[str, Any] = {"max_problems": config.max_problems}
    if config.shots:
        about["shots"] = config.shots
    if config.max_new_tokens:
        about["max_new_tokens"] = config.max_new_tokens
    if config.sampling_temperature:
        about |= {"temperature": config.sampling_temperature, "seed": config.seed}
    return about


def _same_asking(found: Mapping[str, Any], about: Mapping[str, Any]) -> bool:
    return all(found.get(name) == about.get(name) for name in SETTINGS)


def _digest(task: Task, count: int) -> str:
    """Of the first problems with their answers, as they are asked."""
    digest = sha256()
    for index in range(count):
        digest.update(json.dumps(task[index].to_dict()).encode() + b"\n")
    return digest.hexdigest()


def _read_score(values: Any, max_new_tokens: Any) -> KeptScore | None:
    if not isinstance(values, Mapping):
        return None
    items, digest, accuracy = values.get("items"), values.get("problems_sha256"), number(values.get("accuracy"))
    if not isinstance(items, str) or set(items) - {"0", "1"} or not isinstance(digest, str) or accuracy is None:
        return None
    return KeptScore(
        accuracy=accuracy,
        right=tuple(item == "1" for item in items),
        sha256=digest,
        max_new_tokens=max_new_tokens if isinstance(max_new_tokens, int) else None,
    )


class _Kept:
    """A score as its file has it."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self.accuracy, self.chance = values["accuracy"], values["chance"]
        self.interval = (values["low"], values["high"])
