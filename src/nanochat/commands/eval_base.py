"""`nanochat eval base`: bits per byte, CORE and samples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nanochat.commands.launching import launch_options, ran_elsewhere
from nanochat.commands.models import complete_selector, table
from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.commands.running import progress_options, show_progress
from nanochat.config.evaluate_base import BaseEvalConfig
from nanochat.config.load import Resolved
from nanochat.runtime.launch.decide import Asked

if TYPE_CHECKING:
    from nanochat.evaluation.core.bundle import Bundle
    from nanochat.evaluation.core.result import CoreResult
    from nanochat.stages.evaluate_base import BaseEvaluation


@click.command()
@click.argument("model", required=False, shell_complete=complete_selector)
@config_options(BaseEvalConfig, "eval.base")
@progress_options()
@base_dir_option
@launch_options
@json_option
def base(
    model: str | None, config: Resolved[BaseEvalConfig], base_dir: str | None, launch: Asked, as_json: bool
) -> None:
    """Measure a model: bits per byte, CORE with intervals, samples.

    MODEL is a selector such as d12:base; nothing means the newest. CORE is the mean of 22 tasks, each centred so
    that 0 is guessing and 1 is perfect; what GPT-2 scores stands beside it. Its questions are downloaded once.
    Results are kept beside the model, item by item: nanochat models diff compares two.
    """
    from nanochat.errors import UsageError

    value = config.value
    if model and value.hf:
        raise UsageError("MODEL and --hf name two models", "measure one after the other, then nanochat models diff")
    if ran_elsewhere(launch, value.device):
        return
    from nanochat.runtime.devices import open_context, pick_device
    from nanochat.runtime.hub import hub_from_environment
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.evaluate_base import evaluate_base

    on_cpu = value.dtype == "auto" and pick_device(value.device) == "cpu"
    context, _ = open_context(
        resolve_paths(base_dir, {}),
        device=value.device,
        dtype="float32" if on_cpu else value.dtype,
        compile="off",
        threads=value.threads,
    )
    with show_progress("eval") as on_event:
        done = evaluate_base(model, value, context, hub_from_environment(os.environ), on_event)
    if as_json:
        emit_json(as_values(done))
    elif context.processes.first:
        click.echo("\n".join(as_lines(done)))


def as_values(done: BaseEvaluation) -> dict[str, Any]:
    """For programs."""
    return {
        "model": done.name,
        "folder": done.folder,
        "bpb": {split: score.to_dict() for split, score in done.bpb.items()},
        "core": done.core.to_dict() if done.core else None,
        "published": done.bundle.published if done.bundle else {},
        "samples": [{"prompt": sample.prompt, "answer": sample.answer} for sample in done.samples],
    }


def as_lines(done: BaseEvaluation) -> Iterator[str]:
    """For people: a block for each part."""
    from nanochat.console.words import safe

    yield safe(done.name)
    if done.bpb:
        yield "\nbits per byte"
        rows = [("split", "bpb", "95% interval", "n", "bytes")]
        for split, score in done.bpb.items():
            low, high = score.interval or (None, None)
            between = "-" if low is None else f"{low:.4f} - {high:.4f}"
            total = score.total
            rows.append((split, f"{total.bits_per_byte:.4f}", between, f"{len(score.parts):,}", f"{total.bytes:,}"))
        yield table(rows, left=1)
    if done.core and done.bundle:
        yield ""
        yield table(list(core_rows(done.core, done.bundle)), left=1)
        yield "centred: 0 is guessing, 1 is perfect; the last columns are what GPT-2 scores, centred, on all items"
    for sample in done.samples:
        yield f"\n> {safe(sample.prompt)}"
        yield safe(sample.answer)
    yield f"\nkept in {done.folder}"


def core_rows(core: CoreResult, bundle: Bundle) -> Iterator[tuple[str, ...]]:
    """A row for each task and one for CORE."""
    columns = {"124M": "GPT-2 124M", "medium": "GPT-2 medium", "large": "GPT-2 large", "XL": "GPT-2 XL"}
    shown = {short: bundle.published[name] for short, name in columns.items() if name in bundle.published}
    yield ("task", "accuracy", "95% interval", "n", "chance", "centred", *(f"GPT-2 {short}" for short in shown))
    for task in core.tasks:
        low, high = task.interval
        yield (
            task.name,
            f"{task.accuracy:.1%}",
            f"{low:.1%} - {high:.1%}",
            f"{task.n:,}",
            f"{task.chance:.0%}",
            f"{task.centred:.3f}",
            *(f"{scores[task.name]:.3f}" if task.name in scores else "-" for scores in shown.values()),
        )
    low, high = core.interval
    yield (
        "CORE",
        "",
        f"{low:.3f} - {high:.3f}",
        f"{sum(task.n for task in core.tasks):,}",
        "",
        f"{core.value:.4f}",
        *(f"{scores['CORE']:.4f}" if "CORE" in scores else "-" for scores in shown.values()),
    )
