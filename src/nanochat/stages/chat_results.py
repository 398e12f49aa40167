"""Scores of tasks as they are kept beside a model: a file for each way of asking, written task by task.

    eval/pocket.json, chat.json, files.json         the test problems as they stand
         pocket-val.json, chat-5shot-8x.json, ...   another split, behind examples, several answers
         pocket@250.part                            asked otherwise than what the file has, and not all of them yet

Each task has a digit for each problem, and the SHA-256 of what was asked, so that two models can be compared on the
same problems.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nanochat.checkpoints.evals import FOLDER, keep_eval, number, part_file, read_eval, read_evals
from nanochat.checkpoints.layout import read_json
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.evaluation.chat import TaskScore
from nanochat.evaluation.chatcore import ChatCore, chatcore
from nanochat.runtime.context import RunContext
from nanochat.runtime.files import atomic_write_json, translate_os_errors
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


def keep_score(
    stage_dir: Path,
    score: TaskScore,
    task: Task,
    step: int,
    config: ChatEvalConfig,
    elapsed_s: float,
    to_come: Collection[str] = (),
) -> None:
    """Write a score beside those that stand there, and ChatCORE where all of its tasks are among them.

    Only those stay in the file that were asked alike: of this step, as many problems, sampled as this one is. Scores
    that were asked otherwise give way when the last new one is there; until then the new ones wait in a `.part` file,
    where an evaluation that goes on after an interruption finds them.

    Args:
        stage_dir: folder of the model's stage.
        score: of the task.
        task: its problems.
        step: of the checkpoint.
        config: how the problems were asked.
        elapsed_s: seconds that the task took.
        to_come: tasks that will be asked after this one.

    Raises:
        StorageError: the folder cannot be written.
    """
    folder, name = stage_dir / FOLDER, _file_of(score.name, config)
    before = read_eval(folder, name, step)
    about = _about(config)
    part = part_file(folder, name, step)
    replaces = bool(before.get("tasks")) and not _same_asking(before, about)
    if replaces:
        before = read_json(part) or {}
    tasks = dict(before.get("tasks", {})) if _same_asking(before, about) else {}
    tasks[score.name] = {
        **score.to_dict(),
        "problems_sha256": _digest(task, score.n),
        "elapsed_s": round(elapsed_s, 2),
    }
    core = _core_of(tasks)
    seconds = sum(number(values.get("elapsed_s")) or 0.0 for values in tasks.values())
    value = {"step": step, **about, "elapsed_s": round(seconds, 2), "tasks": tasks}
    value |= {"chatcore": core.to_dict()} if core else {}
    if replaces and name in {_file_of(other, config) for other in to_come}:
        atomic_write_json(part, value)
        return
    keep_eval(folder, name, value)
    if replaces:
        with translate_os_errors(folder):
            part.unlink(missing_ok=True)


def kept_core(
    stage_dir: Path, asked: Collection[str], step: int, config: ChatEvalConfig
) -> tuple[ChatCore, int] | None:
    """ChatCORE of what is kept of a step, asked as the config says, and how many problems it is of.

    None where a task of it is missing, or where none of it is among those that were asked now.

    Raises:
        StorageError: the file cannot be read.
    """
    if not set(asked) & {*CHATCORE, *ALSO_IN_CORE}:
        return None
    found = read_eval(stage_dir / FOLDER, _file_of(CHATCORE[0], config), step)
    tasks = found.get("tasks", {}) if _same_asking(found, _about(config)) else {}
    core = _core_of(tasks)
    return (core, sum(int(number(tasks[name].get("n")) or 0) for name in core.tasks)) if core else None


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


def _core_of(tasks: Mapping[str, Mapping[str, Any]]) -> ChatCore | None:
    """ChatCORE of scores as their file has them; None where a task of it is missing."""
    return chatcore({name: _Kept(values) for name, values in tasks.items()}, CHATCORE, ALSO_IN_CORE)


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
