"""The evaluation of a trained stage on tasks and files; results are kept beside the model."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from nanochat.checkpoints.selector import describe_place, resolve
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.engine.engine import Engine
from nanochat.engine.load import load_engine
from nanochat.errors import UsageError
from nanochat.evaluation.chat import TaskScore, evaluate_task
from nanochat.evaluation.chatcore import ChatCore
from nanochat.evaluation.prompts import AsChat, Asking, FewShot
from nanochat.pocket.held_out import Split
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import (
    Evaluated,
    Event,
    EventLog,
    Notice,
    OnEvent,
    StageProgress,
    fan_out,
    to_nobody,
    warner,
)
from nanochat.stages.chat_results import keep_score, kept_core
from nanochat.tasks.hub import Places
from nanochat.tasks.names import CHATCORE, DESCRIPTIONS, canonical, is_file
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tasks.registry import open_task, open_validation
from nanochat.tasks.task import Task

CORE_NAME = "ChatCORE"
TOP_K = 50  # of sampled answers, as in reinforcement learning


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatScores:
    """What an evaluation has found.

    Attributes:
        tasks: scores of the tasks that were asked, in their order.
        core: ChatCORE, where all of its tasks are kept and one of them was asked now; only the first process has it.
    """

    tasks: tuple[TaskScore, ...]
    core: ChatCore | None


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


def evaluate_chat(selector: str | None, config: ChatEvalConfig, context: RunContext, on_event: OnEvent) -> ChatScores:
    """Score a model on the chosen tasks and write `eval/*.json` into its stage folder.

    Several processes share the problems of each task; the first one tells, and writes every score at once, so that an
    end half-way loses none. Scores of other tasks of the same step that stand there are kept; where they were asked
    otherwise, as of fewer problems, until the last task of this evaluation is done. Only plain scores of the test
    split are events of the run: those of files, of the val split, behind examples or of sampled answers are not.

    Raises:
        MissingError: no such model, or no data of a task.
        UsageError: no such task, or one whose answers cannot be graded here.
        ConversationError, DamagedError, StorageError: a file of conversations cannot be used.
    """
    on_event = on_event if context.processes.first else to_nobody
    notice = warner(on_event, "eval")
    places = Places.of(context.paths, config.task_data)
    tasks = choose_tasks(config.tasks, config.max_problems, config.split, places=places, unsafe_exec=config.unsafe_exec)
    for task in tasks.values():
        task.prepare()
    if context.world_size > 1:  # the first says which: another might look a moment later, or see an older folder
        asked = selector
        selector = context.processes.first_does(lambda: describe_place(resolve(context.paths, asked, notice)))
    engine, checkpoint = load_engine(
        context.paths, selector, device=context.device, dtype=getattr(torch, context.dtype), on_notice=notice
    )
    folder = checkpoint.path.parent
    stage = folder.name
    log = EventLog(folder / "events.jsonl")
    both = fan_out(log, on_event) if context.processes.first else to_nobody
    own = {name for name in tasks if is_file(name)}
    for line in _remarks(config, tasks, own, stage):
        on_event(Notice(stage="eval", level="info", message=line))
    scores: dict[str, TaskScore] = {}
    core = None

    def tell_share(done: float, detail: str) -> None:
        detail = f"{describe_place(checkpoint.path)} {detail}"
        on_event(StageProgress(stage="eval", done=done, total=len(tasks), unit="tasks", detail=detail))

    try:
        for number, (name, task) in enumerate(tasks.items()):
            started = time.perf_counter()

            def tell_task(share: float, detail: str, number: int = number, name: str = name) -> None:
                tell_share(number + share, f"{name} {detail}")

            score = dataclasses.replace(_score(engine, task, config, context, tell_task), name=name)
            if score.too_long:
                line = f"{name}: {score.too_long} of {score.n} prompts left no room for an answer; they count as wrong"
                notice(line)
            if context.processes.first:
                elapsed_s = time.perf_counter() - started
                keep_score(folder, score, task, checkpoint.step, config, elapsed_s, list(tasks)[number + 1 :])
            scores[name] = score
            tell = on_event if name in own or config.split == "val" or config.variant else both
            tell(_event(score, stage, checkpoint.step))
        kept = kept_core(folder, scores, checkpoint.step, config) if context.processes.first else None
        if kept:
            core, count = kept
            event = _core_event(core, count, stage, checkpoint.step)
            (on_event if config.split == "val" or config.variant else both)(event)
    except BaseException:
        left = [_as_asked(name, config.tasks) for name in tasks if name not in scores]
        if scores and left:
            line = f"the scores of {', '.join(scores)} are kept; --tasks {','.join(left)} asks what is left"
            on_event(Notice(stage="eval", level="info", message=line))
        raise
    finally:
        log.close()
    return ChatScores(tasks=tuple(scores.values()), core=core)


def _score(
    engine: Engine, task: Task, config: ChatEvalConfig, context: RunContext, tell: Callable[[float, str], None]
) -> TaskScore:
    """Score one task; `tell` is given the share that is done, and right answers of answers."""
    samples = 1 if task.kind == "categorical" else config.num_samples
    return evaluate_task(
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
        on_progress=lambda done, total, correct: tell(done / total, f"{correct}/{done * samples}"),
        processes=context.processes,
    )


def _as_asked(name: str, names: str) -> str:
    """The word of a list that a task was chosen by: a file's path."""
    words = (word.strip() for word in names.split(","))
    return next((word for word in words if is_file(word) and Path(word).name == name), name)


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


def _core_event(core: ChatCore, count: int, stage: str, step: int) -> Event:
    return Evaluated(
        stage=stage, step=step, name=CORE_NAME, value=core.value, n=count, low=core.low, high=core.high, chance=0.0
    )
