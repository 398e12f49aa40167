"""The whole pipeline of a recipe, stage by stage; what was done before is passed over, so a stopped run goes on."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from nanochat.config.speedrun import Recipe
from nanochat.errors import StorageError
from nanochat.model.sizes import count_parameters, flops_per_token
from nanochat.report.collect import collect
from nanochat.report.markdown import to_markdown
from nanochat.runtime.context import RunContext
from nanochat.runtime.devices import matmul_rates
from nanochat.runtime.events import OnEvent, StageFinished, StageStarted, to_nobody
from nanochat.runtime.files import atomic_write_json, atomic_write_text
from nanochat.stages.chat_results import is_evaluated
from nanochat.stages.evaluate import choose_tasks, evaluate_chat
from nanochat.stages.finetune import midtrain, sft
from nanochat.stages.prepare import make_pocket_data, make_tokenizer
from nanochat.stages.pretrain import pretrain
from nanochat.stages.rl import rl
from nanochat.training.horizon import base_horizon

BEFORE, AFTER = ("data", "tokenizer"), ("eval", "report")
"""What stands around the stages that train."""

# of a pocket run on two idle cores: share of the measured matmul rate that its steps reached (small matrices, the
# optimizer and attention take the rest), and seconds that were no step (probing, compiling, evaluation)
STEP_EFFICIENCY = 0.44
OVERHEAD_S = 85.0
ANSWER_S = 0.01  # of rl, on the same cores: to give an answer and learn from it
GPU_FLOPS = 1e14  # a cautious stand-in where the rate is not measured
PROCESS_BYTES = 1_950_000_000  # Python, torch and its compiler, over three stages: a pocket run takes 2.25 GiB in all


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a recipe will cost. Times and memory, that of all processes of this machine, are estimates."""

    parameters: int
    matrix_parameters: int
    tokens: int
    flops: float
    minutes: float
    disk_bytes: int
    free_disk_bytes: int
    memory_bytes: int


def make_plan(recipe: Recipe, context: RunContext) -> Plan:
    """The cost of `recipe` on this machine.

    Raises:
        UsageError: sizes that cannot work.
    """
    vocab_size = recipe.tokenizer.vocab_size
    model = recipe.base.model(vocab_size)
    counts = count_parameters(model)
    tokens = base_horizon(recipe.base, model, context.world_size).tokens + sum(
        stage.num_steps * stage.total_batch_size for stage in (recipe.mid, recipe.sft)
    )
    flops = float(flops_per_token(model)) * tokens
    rate = matmul_rates((context.dtype,))[context.dtype] if context.device == "cpu" else GPU_FLOPS
    rows = recipe.base.device_batch_size * model.sequence_len
    activations = rows * (12 * model.vocab_size + model.n_layer * model.n_embd * 60)
    checkpoint = counts.total * 4 * 3  # weights and at most two momenta, float32
    # the newest checkpoints, and the best
    kept = sum(getattr(recipe, stage).keep + 1 for stage in recipe.trained)
    answers = recipe.rl.num_steps * recipe.rl.examples * recipe.rl.samples if recipe.rl else 0
    seconds = flops / (rate * context.world_size * STEP_EFFICIENCY) + answers * ANSWER_S / context.world_size
    where = context.paths.base
    while not where.exists():
        where = where.parent
    return Plan(
        parameters=counts.total,
        matrix_parameters=counts.matrices,
        tokens=tokens,
        flops=flops,
        minutes=(seconds + OVERHEAD_S) / 60,
        disk_bytes=recipe.data.size // 2 + checkpoint * (kept + 1),  # and one being written
        free_disk_bytes=shutil.disk_usage(where).free,
        memory_bytes=(PROCESS_BYTES + checkpoint * 2 + activations) * context.processes.local_world_size,
    )


def check_disk(plan: Plan, folder: Path) -> None:
    """Refuse to begin what will not fit.

    Raises:
        StorageError: less free than the plan needs.
    """
    if plan.free_disk_bytes < plan.disk_bytes:
        raise StorageError(
            f"{folder}: the run needs {plan.disk_bytes / 1e6:.0f} MB, {plan.free_disk_bytes / 1e6:.0f} MB are free",
            "free some space, or put everything elsewhere with --base-dir",
        )


def speedrun(recipe: Recipe, plan: Plan, context: RunContext, on_event: OnEvent) -> Path:
    """Run every stage that is not done yet.

    What does not train or evaluate is done by the first of several processes, while the others wait.

    Returns:
        The report's path.

    Raises:
        NanochatError: as the stages do; run it again to go on.
    """
    processes = context.processes
    on_event = on_event if processes.first else to_nobody
    processes.first_does(lambda: _prepare(recipe, plan, context, on_event))
    pretrain(recipe.base, context, on_event)
    midtrain(recipe.mid, context, on_event)
    sft(recipe.sft, context, on_event)
    if recipe.rl:
        rl(recipe.rl, context, on_event)
    _evaluate(recipe, context, on_event)
    return processes.first_does(lambda: _report(recipe, context, on_event))


def _prepare(recipe: Recipe, plan: Plan, context: RunContext, on_event: OnEvent) -> None:
    tag = recipe.base.tag
    atomic_write_json(context.paths.models / tag / "speedrun.json", {"tag": tag, "plan": dataclasses.asdict(plan)})
    make_pocket_data(recipe.data, context, on_event)
    make_tokenizer(recipe.tokenizer, context, on_event)


def _report(recipe: Recipe, context: RunContext, on_event: OnEvent) -> Path:
    folder = context.paths.models / recipe.base.tag
    on_event(StageStarted(stage="report", tag=recipe.base.tag, total_steps=0))
    path = folder / "report.md"
    atomic_write_text(path, to_markdown(collect(folder)))
    on_event(StageFinished(stage="report", step=0, elapsed_s=0.0))
    return path


def _evaluate(recipe: Recipe, context: RunContext, on_event: OnEvent) -> None:
    """Score every stage, each only where its scores are missing."""
    tag, config = recipe.base.tag, recipe.evaluation
    tasks = choose_tasks(config.tasks, config.max_problems)
    exact = dataclasses.replace(context, dtype=config.dtype)
    wanted = {stage: getattr(recipe, stage).num_steps for stage in recipe.trained}
    on_event(StageStarted(stage="eval", tag=tag, total_steps=0))
    for stage in recipe.trained:
        done = is_evaluated(exact, tag, stage, wanted[stage], tasks, config)
        if not context.processes.agree(done):
            evaluate_chat(f"{tag}:{stage}", config, exact, on_event)
    on_event(StageFinished(stage="eval", step=wanted[recipe.trained[-1]], elapsed_s=0.0))
