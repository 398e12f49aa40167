"""The evaluation of a trained stage on tasks and files; results are kept beside the model."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.selector import describe_place, resolve
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.engine.engine import Engine
from nanochat.engine.load import load_engine
from nanochat.errors import UsageError
from nanochat.evaluation.chat import TaskScore, evaluate_task
from nanochat.evaluation.chatcore import ChatCore, chatcore
from nanochat.evaluation.prompts import AsChat, Asking, FewShot
from nanochat.pocket.held_out import Split
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Evaluated, Event, EventLog, Notice, OnEvent, StageProgress, fan_out, to_nobody
from nanochat.runtime.files import atomic_write_json
from nanochat.tasks.hub import Places
from nanochat.tasks.names import CHATCORE, DESCRIPTIONS, canonical, is_file
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tasks.registry import open_task, open_validation
from nanochat.tasks.task import Task

CORE_NAME = "ChatCORE"
ALSO_IN_CORE = ("spellingbee",)
TOP_K = 50  # of sampled answers, as in reinforcement learning


def choose_tasks(
    names: str,
    size: int,
    split: Split = "test",
    *,
    temporary: Path | None = None,
    places: Places | None = None,
    unsafe_exec: bool = False,
) -> Mapping[str, Task]:
    """The tasks of a held-out split that are named in a comma-separated list.

    A file is what has a suffix or a slash; its task has the name of the file.

    Args:
        names: as in "facts,gsm8k,my_tests.jsonl"; "all" is the pocket tasks, "chatcore" those of ChatCORE.
        size: conversations of each pocket task.
        split: a file is asked as it is; for "val" see `open_validation`.
        temporary: folder for what compressed files unpack to, where no places are given.
        places: where data is looked for; without it only pocket tasks and files can be had.
        unsafe_exec: run a model's programs also where the sandbox is weak.

    Raises:
        UsageError: a name that is no task, or two files of one name.
        MissingError: a task's data is not there.
        ConversationError, DamagedError, StorageError: a file cannot be used.
    """
    pocket = pocket_tasks(split, size)
    groups = {"all": tuple(pocket), "chatcore": CHATCORE}
    wanted = [canonical(name.strip()) for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in (*pocket, *groups, *DESCRIPTIONS) and not is_file(name)]
    if unknown or not wanted:
        known = ", ".join((*pocket, "all", *DESCRIPTIONS, "chatcore"))
        raise UsageError(f"no task {', '.join(unknown) or names!r}", f"choose among {known}, or a file of your own")
    temporary = temporary or Path(tempfile.gettempdir())
    places = places or Places(downloads=temporary / "no-task-data", scratch=temporary)
    tasks: dict[str, Task] = {}
    for name in (member for asked in wanted for member in groups.get(asked, (asked,))):
        key = Path(name).name if is_file(name) else name
        if key in tasks and is_file(name):
            raise UsageError(f"two tasks would have the name {key}", "score them one after the other")
        if key not in tasks:
            if name in pocket:
                tasks[key] = pocket[name]
            elif split == "val":
                tasks[key] = open_validation(name, places=places, unsafe_exec=unsafe_exec)
            else:
                tasks[key] = open_task(name, split, places=places, unsafe_exec=unsafe_exec)
    return tasks


def evaluate_chat(
    selector: str | None, config: ChatEvalConfig, context: RunContext, on_event: OnEvent
) -> list[TaskScore]:
    """Score a model on the chosen tasks and write `eval/*.json` into its stage folder.

    Several processes share the problems of each task; the first one tells and writes. Scores of other tasks of the
    same step that stand there are kept. Only plain scores of the test split are events of the run: those of files,
    of the val split, behind examples or of sampled answers are not.

    Raises:
        MissingError: no such model, or no data of a task.
        UsageError: no such task, or one whose answers cannot be graded here.
        ConversationError, DamagedError, StorageError: a file of conversations cannot be used.
    """
    places = Places.of(context.paths, config.task_data)
    tasks = choose_tasks(config.tasks, config.max_problems, config.split, places=places, unsafe_exec=config.unsafe_exec)
    for task in tasks.values():
        task.prepare()
    if context.world_size > 1:  # the first says which: another might look a moment later, or see an older folder
        asked = selector
        selector = context.processes.first_does(lambda: describe_place(resolve(context.paths, asked)))
    engine, checkpoint = load_engine(
        context.paths, selector, device=context.device, dtype=getattr(torch, context.dtype)
    )
    folder = checkpoint.path.parent
    stage = folder.name
    started = time.perf_counter()
    first = context.processes.first
    log = EventLog(folder / "events.jsonl")
    on_event = on_event if first else to_nobody
    both = fan_out(log, on_event) if first else to_nobody
    own = {name for name in tasks if is_file(name)}
    for line in _remarks(config, tasks, own, stage):
        on_event(Notice(stage="eval", level="info", message=line))
    scores: dict[str, TaskScore] = {}
    for number, (name, task) in enumerate(tasks.items()):

        def progress(done: int, total: int, correct: int, number: int = number, name: str = name) -> None:
            answers = done * (1 if tasks[name].kind == "categorical" else config.num_samples)
            on_event(
                StageProgress(
                    stage="eval",
                    done=number + done / total,
                    total=len(tasks),
                    unit="tasks",
                    detail=f"{describe_place(checkpoint.path)} {name} {correct}/{answers}",
                )
            )

        score = evaluate_task(
            engine,
            task,
            max_problems=config.max_problems,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            num_samples=config.num_samples,
            temperature=config.sampling_temperature,
            top_k=TOP_K if config.sampling_temperature else None,
            seed=config.seed,
            asking=_asking(engine, config, task),
            on_progress=progress,
            processes=context.processes,
        )
        scores[name] = score = dataclasses.replace(score, name=name)
        if score.too_long:
            line = f"{name}: {score.too_long} of {score.n} prompts left no room for an answer; they count as wrong"
            on_event(Notice(stage="eval", level="warning", message=line))
        tell = on_event if name in own or config.split == "val" or config.variant else both
        tell(_event(score, stage, checkpoint.step))
    if core := core_of(scores.values()):
        of_core = sum(scores[name].n for name in core.tasks)
        event = Evaluated(
            stage=stage,
            step=checkpoint.step,
            name=CORE_NAME,
            value=core.value,
            n=of_core,
            low=core.low,
            high=core.high,
            chance=0.0,
        )
        (on_event if config.split == "val" or config.variant else both)(event)
    log.close()
    elapsed_s = time.perf_counter() - started
    for file in sorted({_file_of(name, config) for name in scores} if first else ()):
        kept = {name: score for name, score in scores.items() if _file_of(name, config) == file}
        seconds = elapsed_s * len(kept) / len(scores)
        _keep(folder / "eval" / file, kept, checkpoint.step, config, seconds)
    return list(scores.values())


def core_of(scores: Iterable[TaskScore]) -> ChatCore | None:
    """ChatCORE of these scores; None where a task of it is missing."""
    return chatcore({score.name: score for score in scores}, CHATCORE, ALSO_IN_CORE)


def _asking(engine: Engine, config: ChatEvalConfig, task: Task) -> Asking:
    if not config.shots:
        return AsChat(engine.tokenizer)
    room = 1 if task.kind == "categorical" else min(config.max_new_tokens or task.max_new_tokens, engine.context // 2)
    return FewShot(engine.tokenizer, config.shots, engine.context, room)


def _remarks(config: ChatEvalConfig, tasks: Mapping[str, Task], own: Iterable[str], stage: str) -> list[str]:
    """What a person should know before the scores."""
    asked = [name for name in tasks if name in DESCRIPTIONS or name in own]
    lines = [
        f"{name}: the first {config.max_problems:,} of {len(tasks[name]):,} are asked (--max-problems)"
        for name in asked
        if len(tasks[name]) > config.max_problems
    ]
    if stage == "base" and asked and not config.shots:
        lines.append("a base model does not know the form of a chat; --shots 5 asks it in plain text behind examples")
    if config.num_samples > 1 and (letters := [name for name in tasks if tasks[name].kind == "categorical"]):
        lines.append(f"one answer to each problem of {', '.join(letters)}: their letters are compared, not sampled")
    return lines


def _event(score: TaskScore, stage: str, step: int) -> Event:
    low, high = score.interval
    return Evaluated(
        stage=stage,
        step=step,
        name=score.name,
        value=score.accuracy,
        n=score.n,
        low=low,
        high=high,
        chance=score.chance,
    )


def _file_of(name: str, config: ChatEvalConfig) -> str:
    """The file in `eval/` that keeps the score of a task: files apart from pocket and the rest, val from test."""
    if is_file(name):
        return f"files{config.variant}.json"
    kind = "chat" if name in DESCRIPTIONS else "pocket"
    return f"{kind}{'-val' if config.split == 'val' else ''}{config.variant}.json"


def _keep(path: Path, scores: Mapping[str, TaskScore], step: int, config: ChatEvalConfig, elapsed_s: float) -> None:
    """Write scores beside those that stand there, and ChatCORE where all of its tasks are among them.

    Only those stay that were asked alike: of this step, as many problems, sampled as these are.
    """
    before = read_json(path) or {}
    about = _about(config)
    tasks = before.get("tasks", {}) if before.get("step") == step and _same_asking(before, about) else {}
    tasks |= {name: score.to_dict() for name, score in scores.items()}
    core = chatcore({name: _Kept(score) for name, score in tasks.items()}, CHATCORE, ALSO_IN_CORE)
    atomic_write_json(
        path,
        {
            "step": step,
            **about,
            "elapsed_s": round(elapsed_s, 2),
            "tasks": tasks,
            **({"chatcore": core.to_dict()} if core else {}),
        },
    )


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
    asked = ("max_problems", "shots", "max_new_tokens", "temperature", "seed")
    return all(found.get(name) == about.get(name) for name in asked)


class _Kept:
    """A score as its file has it."""

    def __init__(self, values: Mapping[str, float]) -> None:
        self.accuracy, self.chance = values["accuracy"], values["chance"]
        self.interval = (values["low"], values["high"])


def is_evaluated(
    context: RunContext, tag: str, stage: str, step: int, tasks: Iterable[str], config: ChatEvalConfig
) -> bool:
    """Whether `eval/pocket.json` holds these tasks for this step, asked as the config says."""
    found = read_json(context.paths.model_dir(tag, stage) / "eval" / "pocket.json") or {}
    alike = found.get("step") == step and _same_asking(found, _about(config))
    return alike and set(tasks) <= set(found.get("tasks", {}))
