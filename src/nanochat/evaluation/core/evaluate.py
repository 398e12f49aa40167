"""All tasks of the bundle, one after the other; each question is scored by one of the processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nanochat.evaluation.core.bundle import CoreTask, Kind
from nanochat.evaluation.core.questions import Encoder, questions
from nanochat.evaluation.core.result import CoreResult, CoreScore
from nanochat.evaluation.core.scoring import Scored, Scorer
from nanochat.runtime.processes import ALONE, Processes
from nanochat.runtime.stop import CutShort

AT_A_TIME = 1024  # questions whose ids are held; sorted by length among themselves


def evaluate_core(
    scorer: Scorer,
    encoder: Encoder,
    tasks: Sequence[CoreTask],
    *,
    max_per_task: int = 0,
    processes: Processes = ALONE,
    on_score: Callable[[CoreScore], None] | None = None,
    on_progress: Callable[[int, int, int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> CoreResult:
    """Score a model on all tasks.

    Args:
        scorer: the model.
        encoder: its tokenizer.
        tasks: of the bundle.
        max_per_task: items of each at most; 0 takes all.
        processes: those that share the items; each returns the result of all.
        on_score: told of each task.
        on_progress: called with (tasks done, items of the present one done, of how many), by this process.
        stopped: asked between passes.

    Raises:
        CutShort: some process was asked to stop; raised by all.
    """
    scores = []
    for number, task in enumerate(tasks):

        def tell(done: int, total: int, number: int = number) -> None:
            if on_progress:
                on_progress(number, done, total)

        score = evaluate_task(
            scorer, encoder, task, max_per_task=max_per_task, processes=processes, on_progress=tell, stopped=stopped
        )
        scores.append(score)
        if on_score:
            on_score(score)
    return CoreResult(tasks=tuple(scores))


def evaluate_task(
    scorer: Scorer,
    encoder: Encoder,
    task: CoreTask,
    *,
    max_per_task: int = 0,
    processes: Processes = ALONE,
    on_progress: Callable[[int, int], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> CoreScore:
    """Score one task; the arguments are those of `evaluate_core`.

    Raises:
        CutShort: some process was asked to stop; raised by all.
    """
    items = task.drawn(max_per_task)
    mine = range(processes.rank, len(items), processes.world_size)
    correct = [0.0] * len(items)
    cut = False
    done = 0
    for start in range(0, len(mine), AT_A_TIME):
        numbers = mine[start : start + AT_A_TIME]
        asked = questions(task, items, numbers, encoder)
        for batch in scorer.passes(asked):
            cut = cut or (stopped is not None and stopped())
            if cut:
                break
            for at, scored in zip(batch, scorer.score([asked[at] for at in batch]), strict=True):
                gold = items[numbers[at]].get("gold", 0)
                correct[numbers[at]] = float(is_right(scored, gold, task.kind))
            done += len(batch)
            if on_progress:
                on_progress(done, len(mine))
    anywhere, *correct = processes.total([float(cut), *correct])
    if anywhere:
        raise CutShort
    return CoreScore(
        name=task.name,
        chance=task.chance,
        shots=task.shots,
        correct=tuple(bool(right) for right in correct),
        sha256=task.sha256,
    )


def is_right(scored: Sequence[Scored], gold: int, kind: Kind) -> bool:
    """Whether the right option is the cheapest by token, the first of equals; in language modelling, whether every
    token of the continuation is the likeliest.
    """
    if kind == "language_modeling":
        return scored[0].greedy
    return min(range(len(scored)), key=lambda at: scored[at].mean) == gold
