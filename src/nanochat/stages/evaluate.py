"""The evaluation of a trained stage on the pocket tasks; results are kept beside the model."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

import torch

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.selector import describe_place
from nanochat.config.evaluate import ChatEvalConfig
from nanochat.engine.load import load_engine
from nanochat.errors import UsageError
from nanochat.evaluation.chat import TaskScore, evaluate_task
from nanochat.pocket.held_out import Split
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Evaluated, EventLog, OnEvent, StageProgress, fan_out
from nanochat.runtime.files import atomic_write_json
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tasks.task import Task

FILES: dict[Split, str] = {"test": "pocket.json", "val": "pocket-val.json"}


def choose_tasks(names: str, size: int, split: Split = "test") -> Mapping[str, Task]:
    """The tasks of a held-out split that are named in a comma-separated list, or "all".

    Raises:
        UsageError: a name that is no task.
    """
    tasks = pocket_tasks(split, size)
    if names == "all":
        return tasks
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in tasks]
    if unknown or not wanted:
        raise UsageError(f"no task {', '.join(unknown) or names!r}", f"choose among {', '.join(tasks)}, or say all")
    return {name: tasks[name] for name in wanted}


def evaluate_chat(
    selector: str | None, config: ChatEvalConfig, context: RunContext, on_event: OnEvent
) -> list[TaskScore]:
    """Score a model on the chosen tasks, greedily, and write `eval/pocket.json` into its stage folder.

    Scores of the val split go into `eval/pocket-val.json`, and are no events of the run. Scores of other tasks of
    the same step that stand there are kept.

    Raises:
        MissingError: no such model.
        UsageError: no such task.
    """
    tasks = choose_tasks(config.tasks, config.max_problems, config.split)
    engine, checkpoint = load_engine(
        context.paths, selector, device=context.device, dtype=getattr(torch, context.dtype)
    )
    folder = checkpoint.path.parent
    stage = folder.name
    started = time.perf_counter()
    log = EventLog(folder / "events.jsonl")
    tell = fan_out(log, on_event) if config.split == "test" else on_event
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
        )
        scores.append(score)
        low, high = score.interval
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
    path = folder / "eval" / FILES[config.split]
    before = read_json(path) or {}
    kept = before.get("tasks", {}) if before.get("step") == checkpoint.step else {}
    atomic_write_json(
        path,
        {
            "step": checkpoint.step,
            "max_problems": config.max_problems,
            "elapsed_s": round(time.perf_counter() - started, 2),
            "tasks": kept | {score.name: score.to_dict() for score in scores},
        },
    )
    return scores


def is_evaluated(context: RunContext, tag: str, stage: str, step: int, tasks: Iterable[str], size: int) -> bool:
    """Whether `eval/pocket.json` holds these tasks for this step."""
    found = read_json(context.paths.model_dir(tag, stage) / "eval" / FILES["test"]) or {}
    return found.get("step") == step and found.get("max_problems") == size and set(tasks) <= set(found.get("tasks", {}))
