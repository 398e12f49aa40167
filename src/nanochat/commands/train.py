"""`nanochat train`: one stage of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.config.load import Resolved
from nanochat.config.train import BaseTrainConfig, MidTrainConfig, SftConfig, TrainConfig
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Notice, OnEvent

if TYPE_CHECKING:
    from nanochat.stages.run import StageResult


@click.command()
@config_options(BaseTrainConfig, "train.base")
@base_dir_option
@json_option
def base(config: Resolved[BaseTrainConfig], base_dir: str | None, as_json: bool) -> None:
    """Pretrain a model on text."""
    value = config.value
    value.model(vocab_size=32_768)  # sizes that cannot work are refused before torch is loaded
    from nanochat.stages.pretrain import pretrain

    _run("base", value, base_dir, as_json, lambda context, on_event: pretrain(value, context, on_event))


@click.command()
@config_options(MidTrainConfig, "train.mid")
@base_dir_option
@json_option
def mid(config: Resolved[MidTrainConfig], base_dir: str | None, as_json: bool) -> None:
    """Teach a base model the form of a conversation."""
    from nanochat.stages.finetune import midtrain

    value = config.value
    _run("mid", value, base_dir, as_json, lambda context, on_event: midtrain(value, context, on_event))


@click.command()
@config_options(SftConfig, "train.sft")
@base_dir_option
@json_option
def sft(config: Resolved[SftConfig], base_dir: str | None, as_json: bool) -> None:
    """Fine-tune a model on the answers of conversations."""
    from nanochat.stages.finetune import sft

    value = config.value
    _run("sft", value, base_dir, as_json, lambda context, on_event: sft(value, context, on_event))


def _run(
    stage: str,
    config: TrainConfig,
    base_dir: str | None,
    as_json: bool,
    train: Callable[[RunContext, OnEvent], StageResult],
) -> None:
    """Open the machine, show the stage, print where the model is."""
    from nanochat.commands.running import show_progress
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths

    context, lacking = open_context(
        resolve_paths(base_dir, {}),
        device=config.device,
        dtype=config.dtype,
        compile=config.compile,
        threads=config.threads,
    )
    with show_progress(stage) as on_event:
        for line in lacking:
            on_event(Notice(stage=stage, level="warning", message=line))
        result = train(context, on_event)
    if as_json:
        emit_json({"folder": str(result.folder), "skipped": result.skipped, **result.summary})
    else:
        click.echo(result.folder)
