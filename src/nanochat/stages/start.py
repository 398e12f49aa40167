"""What fine-tuning begins with: the model of another stage, adapters where they are wanted, an optimizer, schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.selector import describe_place, resolve
from nanochat.checkpoints.store import Checkpoint, load_checkpoint
from nanochat.config.rl import RlConfig
from nanochat.config.train import ChatTrainConfig, SftConfig
from nanochat.model.gpt import GPT
from nanochat.model.lora import add_adapters, is_adapted, load_adapters, without_adapters
from nanochat.stages.plan import short_count
from nanochat.stages.rates import inherited_rates, to_keep
from nanochat.stages.run import StageRun
from nanochat.training.adapters import build_adapter_optimizer
from nanochat.training.loop import Dials
from nanochat.training.optimizer import Optimizer, build_optimizer
from nanochat.training.schedule import finetune_momentum, lr_multiplier

PREVIOUS = {"mid": "base", "sft": "mid", "rl": "sft"}


def source_of(run: StageRun, config: ChatTrainConfig | RlConfig) -> str:
    """The model that a stage is told to start from, or that of the stage before it, as a selector."""
    return config.source or f"{config.tag}:{PREVIOUS[run.stage]}"


def starting_model(run: StageRun, config: ChatTrainConfig) -> Checkpoint:
    """The model that a stage is told to start from, or that of the stage before it.

    Raises:
        MissingError: there is none.
    """
    return start_of(run, source_of(run, config))


def start_of(run: StageRun, selector: str) -> Checkpoint:
    """The model that a selector names, with the momenta that another stage can use.

    Raises:
        MissingError: there is none.
    """
    paths = run.context.paths
    path = run.context.processes.first_does(lambda: resolve(paths, selector, run.notice))
    start = load_checkpoint(path, with_optimizer=True)
    # momenta of adapters, and what else those keep, are of no use to anything but their own run
    return replace(start, optimizer_state=None) if is_adapted(start.optimizer_state or {}) else start


def place_of(run: StageRun, start: Checkpoint, resumed: Checkpoint | None, selector: str) -> str:
    """Which model a run began with: of one that goes on what its record says, else what `selector` names."""
    if not resumed:
        return describe_place(start.path)
    begun = (read_json(run.folder / "config.json") or {}).get("data", {})
    return str(begun.get("start") or selector)


def model_of(start: Checkpoint, config: ChatTrainConfig) -> tuple[GPT, int]:
    """The model with its weights, and the tokens of a row.

    Rows may be shorter than the context, which stays; longer ones become the context.
    """
    context = start.model_config.sequence_len
    row_len = config.sequence_len or context
    model = GPT(replace(start.model_config, sequence_len=max(context, row_len)))
    model.load_state_dict(start.model_state)
    return model, row_len


def prepare(
    run: StageRun,
    config: ChatTrainConfig,
    start: Checkpoint,
    model: GPT,
    resumed: Checkpoint | None,
    *,
    batch_tokens: int,
    steps: int,
    row_len: int,
) -> tuple[Optimizer, dict[str, Any]]:
    """Adapters where they are wanted, the model in its place, and what trains it.

    Returns:
        The optimizer, and what checkpoints keep for the stages that follow.
    """
    prefers, further = False, 1.0
    if isinstance(config, SftConfig) and config.preferences:
        prefers, further = True, config.preference_lr_scale
    rates = inherited_rates(config, start)
    keep = to_keep(rates.given)
    processes = run.context.processes
    if isinstance(config, SftConfig) and config.lora_rank:
        adapt(run, config, model, resumed)
        run.place(model, batch_tokens=batch_tokens, steps=steps, row_len=row_len)
        return adapter_optimizer(run, config, model, resumed), keep
    run.at_start(rates.line(config, further))
    run.place(model, batch_tokens=batch_tokens, steps=steps, row_len=row_len)
    # no sqrt rule for the batch here: fine-tuning takes its rates as given
    optimizer = build_optimizer(
        model, rates.learning_rates(config, further), plain=True, compile=run.context.compile, processes=processes
    )
    # momenta go on from the stage before: a first step without them is as large as the learning rate in every
    # coordinate, and undoes much of what was learnt (loss 0.5 -> 2.5 on pocket)
    place = describe_place(start.path)
    taken = resumed or not prefers  # the loss of preferences is another one: its gradients have other sizes
    if taken and start.optimizer_state:
        optimizer.load_state_dict(start.optimizer_state)
    if not resumed:
        told = f"those of {place}" if start.optimizer_state else f"none, for {place} has none"
        run.at_start(f"momenta: {told if taken else 'none, for preferences begin anew'}")
    return optimizer, keep


def adapt(run: StageRun, config: SftConfig | RlConfig, model: GPT, resumed: Checkpoint | None) -> None:
    """Give a model adapters, those of the run that goes on."""
    count = add_adapters(model, config.lora_rank, alpha=config.lora_alpha, seed=config.seed)
    if resumed:
        load_adapters(model, resumed.optimizer_state or {})
    trained = f"{short_count(count)} numbers are trained"
    run.at_start(f"adapters of rank {config.lora_rank}: {trained}; learning rate {config.lora_lr:g}")


def adapter_optimizer(run: StageRun, config: SftConfig | RlConfig, model: GPT, resumed: Checkpoint | None) -> Optimizer:
    """What trains the adapters of a placed model."""
    optimizer = build_adapter_optimizer(
        model, config.lora_lr, compile=run.context.compile, processes=run.context.processes
    )
    if resumed and resumed.optimizer_state:
        optimizer.load_state_dict(without_adapters(resumed.optimizer_state))
    return optimizer


def finetune_dials(config: ChatTrainConfig | RlConfig, steps: int, warmup: int = 0) -> Callable[[int], Dials]:
    """The schedules of a run of so many steps."""

    def dials(step: int) -> Dials:
        return Dials(
            lr_multiplier=lr_multiplier(step, steps, warmup=warmup, warmdown=config.warmdown, final=config.final_lr),
            momentum=finetune_momentum(step),
        )

    return dials
