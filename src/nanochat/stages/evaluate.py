"""The evaluation of a trained stage on pocket tasks and files; results are kept beside the model."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.selector import describe_place, resolve
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.engine.load import load_engine
from nanochat.errors import UsageError
from nanochat.evaluation.chat import TaskScore, evaluate_task
from nanochat.pocket.held_out import Split
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Evaluated, EventLog, Notice, OnEvent, StageProgress, fan_out, to_nobody
from nanochat.runtime.files import atomic_write_json
from nanochat.tasks.files import ConversationFile, FileTask
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tasks.task import Task

FILES: dict[Split, str] = {"test": "pocket.json", "val": "pocket-val.json"}
OWN_FILES = "files.json"  # scores of tasks that are files


def choose_tasks(names: str, size: int, split: Split = "test", *, temporary: Path | None = None) -> Mapping[str, Task]:
    """The tasks of a held-out split that are named in a comma-separated list, "all" of them, and files.

    A file is what has a suffix or a slash; its task has the name of the file.

    Args:
        names: as in "facts,my_tests.jsonl".
        size: conversations of each pocket task.
        split: of the pocket tasks; a file is asked as it is.
        temporary: folder for what compressed files unpack to.

    Raises:
        UsageError: a name that is no task, or two files of one name.
        ConversationError, MissingError, DamagedError, StorageError: a file cannot be used.
    """
    pocket = pocket_tasks(split, size)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in (*pocket, "all") and not _is_file(name)]
    if unknown or not wanted:
        raise UsageError(
            f"no task {', '.join(unknown) or names!r}", f"choose among {', '.join(pocket)}, all, or a file of your own"
        )
    tasks: dict[str, Task] = {}
    for name in wanted:
        if name == "all":
            tasks |= pocket
        elif name in pocket:
            tasks[name] = pocket[name]
        else:
            path = Path(name).expanduser()
            if path.name in tasks:
                raise UsageError(f"two tasks would have the name {path.name}", "score them one after the other")
            tasks[path.name] = FileTask.asked(ConversationFile(path, temporary), path.name)
    return tasks


def _is_file(name: str) -> bool:
    return "." in name or "/" in name or os.sep in name


def evaluate_chat(
    selector: str | None, config: ChatEvalConfig, context: RunContext, on_event: OnEvent
) -> list[TaskScore]:
    """Score a model on the chosen tasks, greedily, and write `eval/pocket.json` into its stage folder.

    Several processes share the problems of each task; the first one tells and writes.

    Scores of the val split go into `eval/pocket-val.json`, those of files into `eval/files.json`; neither are events
    of the run. Scores of other tasks of the same step that stand there are kept.

    Raises:
        MissingError: no such model.
        UsageError: no such task.
        ConversationError, DamagedError, StorageError: a file of conversations cannot be used.
    """
    temporary = context.paths.cache / "conversations"
    tasks = choose_tasks(config.tasks, config.max_problems, config.split, temporary=temporary)
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
    own = {name for name, task in tasks.items() if isinstance(task, FileTask)}
    for name in own:
        if len(tasks[name]) > config.max_problems:
            line = f"{name}: the first {config.max_problems:,} of {len(tasks[name]):,} are asked (--max-problems)"
            on_event(Notice(stage="eval", level="info", message=line))
    scores = []
    for number, task in enumerate(tasks.values()):

        def progress(done: int, total: int, correct: int, number: int = number, name: str = task.name) -> None:
            on_event(
                StageProgress(
                    stage="eval",
                    done=number + done / total,
                    total=len(tasks),
                    unit="tasks",
                    detail=f"{describe_place(checkpoint.path)} {name} {correct}/{done}",
                )
            )

        score = evaluate_task(
            engine,
            task,
            max_problems=config.max_problems,
            batch_size=config.batch_size,
            max_new_tokens=config.max_new_tokens,
            on_progress=progress,
            processes=context.processes,
        )
        scores.append(score)
        low, high = score.interval
        tell = on_event if score.name in own or config.split == "val" else both
        tell(
            Evaluated(
                stage=stage,
                step=checkpoint.step,
                name=score.name,
                value=score.accuracy,
                n=score.n,
                low=low,
                high=high,
                chance=score.chance,
            )
        )
    log.close()
    elapsed_s = time.perf_counter() - started
    for file, chosen in ((FILES[config.split], tasks.keys() - own), (OWN_FILES, own)):
        if first and (kept := [score for score in scores if score.name in chosen]):
            seconds = elapsed_s * len(kept) / len(scores)
            _keep(folder / "eval" / file, kept, checkpoint.step, config.max_problems, seconds)
    return scores


def _keep(path: Path, scores: Iterable[TaskScore], step: int, size: int, elapsed_s: float) -> None:
    """Write scores beside those of the same step that stand there."""
    before = read_json(path) or {}
    kept = before.get("tasks", {}) if before.get("step") == step else {}
    atomic_write_json(
        path,
        {
            "step": step,
            "max_problems": size,
            "elapsed_s": round(elapsed_s, 2),
            "tasks": kept | {score.name: score.to_dict() for score in scores},
        },
    )


def is_evaluated(context: RunContext, tag: str, stage: str, step: int, tasks: Iterable[str], size: int) -> bool:
    """Whether `eval/pocket.json` holds these tasks for this step."""
    found = read_json(context.paths.model_dir(tag, stage) / "eval" / FILES["test"]) or {}
    return found.get("step") == step and found.get("max_problems") == size and set(tasks) <= set(found.get("tasks", {}))
