"""`nanochat train`: one stage of a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from nanochat.commands.launching import launch_options, ran_elsewhere
from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress
from nanochat.config.load import Resolved
from nanochat.config.rl import RlConfig
from nanochat.config.train import BaseTrainConfig, MidTrainConfig, SftConfig, TrainConfig
from nanochat.errors import UsageError
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Notice, OnEvent
from nanochat.runtime.launch.decide import Asked

if TYPE_CHECKING:
    from nanochat.stages.folder import StageResult


@click.command()
@config_options(BaseTrainConfig, "train.base", config_file=True)
@progress_options(training=True)
@base_dir_option
@launch_options
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@json_option
def base(config: Resolved[BaseTrainConfig], base_dir: str | None, launch: Asked, dry_run: bool, as_json: bool) -> None:
    """Pretrain a model on text.

    With --from it goes on with a model there is, on other data or with a longer context.
    """
    value = _like_source(config, base_dir) if config.value.source else config.value
    value.model(vocab_size=32_768)  # sizes that cannot work are refused before torch is loaded
    if dry_run:
        from nanochat.runtime.paths import resolve_paths
        from nanochat.stages.plan import plan_base

        plan = plan_base(value, resolve_paths(base_dir, {}))
        if as_json:
            emit_json(plan)
        else:
            click.echo("\n".join(plan.lines()))
        return
    if ran_elsewhere(launch, value.device):
        return
    from nanochat.stages.pretrain import pretrain

    _run("base", value, base_dir, as_json, lambda context, on_event: pretrain(value, context, on_event))


@click.command()
@config_options(MidTrainConfig, "train.mid", config_file=True)
@progress_options(training=True)
@base_dir_option
@launch_options
@json_option
def mid(config: Resolved[MidTrainConfig], base_dir: str | None, launch: Asked, as_json: bool) -> None:
    """Teach a base model the form of a conversation."""
    value = config.value
    if ran_elsewhere(launch, value.device):
        return
    from nanochat.stages.finetune import midtrain

    _run("mid", value, base_dir, as_json, lambda context, on_event: midtrain(value, context, on_event))


@click.command()
@config_options(SftConfig, "train.sft", config_file=True)
@progress_options(training=True)
@base_dir_option
@launch_options
@json_option
def sft(config: Resolved[SftConfig], base_dir: str | None, launch: Asked, as_json: bool) -> None:
    """Fine-tune a model on the answers of conversations."""
    value = config.value
    if ran_elsewhere(launch, value.device):
        return
    from nanochat.stages.finetune import sft

    _run("sft", value, base_dir, as_json, lambda context, on_event: sft(value, context, on_event))


@click.command()
@config_options(RlConfig, "train.rl", config_file=True)
@progress_options(training=True)
@base_dir_option
@launch_options
@json_option
def rl(config: Resolved[RlConfig], base_dir: str | None, launch: Asked, as_json: bool) -> None:
    """Let a model practise: what is paid well becomes likelier.

    It answers each problem many times, and learns from what each answer is worth beside the others. pass@k on
    held-out problems, before the first step and then at a cadence, says whether it helps.
    """
    value = config.value
    if ran_elsewhere(launch, value.device):
        return
    from nanochat.stages.rl import rl

    _run("rl", value, base_dir, as_json, lambda context, on_event: rl(value, context, on_event))


SHAPE_FIELDS = ("depth", "aspect_ratio", "head_dim", "window_pattern", "recipe", "tokenizer")


def _like_source(config: Resolved[BaseTrainConfig], base_dir: str | None) -> BaseTrainConfig:
    """The config with the shape of the model it goes on with, and its context where none was given.

    Raises:
        UsageError: a flag asks for another shape or tokenizer.
        MissingError: there is no such model.
    """
    from nanochat.checkpoints.layout import read_json
    from nanochat.checkpoints.selector import candidates
    from nanochat.checkpoints.store import CONFIG
    from nanochat.config.model import ModelConfig
    from nanochat.runtime.paths import resolve_paths

    value = config.value
    given = [config.origins[name].name for name in SHAPE_FIELDS if config.origins[name].kind == "flag"]
    if given:
        raise UsageError(
            f"--from {value.source} goes on with that model's shape and tokenizer; {given[0]} cannot change them",
            f"leave {given[0]} out, or --from",
        )
    step_dir = candidates(resolve_paths(base_dir, {}), value.source)[0]
    source = ModelConfig.from_dict(read_json(step_dir / CONFIG) or {})
    if config.origins["sequence_len"].kind == "default":
        value = replace(value, sequence_len=source.sequence_len)
    return replace(
        value,
        depth=source.n_layer,
        head_dim=source.head_dim,
        window_pattern=source.window_pattern,
        recipe="modern" if source.residual_lambdas else "classic",
    )


def _run(
    stage: str,
    config: TrainConfig,
    base_dir: str | None,
    as_json: bool,
    train: Callable[[RunContext, OnEvent], StageResult],
) -> None:
    """Open the machine, show the stage, print where the model is."""
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths

    context, lacking = open_context(
        resolve_paths(base_dir, {}),
        device=config.device,
        dtype=config.dtype,
        compile=config.compile,
        threads=config.threads,
    )
    with show_progress(stage, paths=context.paths) as on_event:
        for line in lacking:
            on_event(Notice(stage=stage, level="warning", message=line))
        result = train(context, on_event)
    if as_json:
        emit_json({"folder": str(result.folder), "skipped": result.skipped, **result.summary})
    else:
        click.echo(result.folder)
