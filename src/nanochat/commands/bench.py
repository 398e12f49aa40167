"""`nanochat bench`: how fast this machine trains, generates and multiplies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nanochat.commands.models import complete_selector
from nanochat.commands.options import base_dir_option, config_options, emit_json, json_option
from nanochat.config.bench import BenchInferConfig, BenchMatmulConfig, BenchTrainConfig
from nanochat.config.load import Resolved

if TYPE_CHECKING:
    from nanochat.runtime.context import RunContext


@click.command()
@config_options(BenchTrainConfig, "bench.train")
@base_dir_option
@json_option
def train(config: Resolved[BenchTrainConfig], base_dir: str | None, as_json: bool) -> None:
    """Time training steps of a model on random tokens.

    The share is of the device's stated peak; on a CPU of the rate of a large matrix product, measured just before.
    """
    from nanochat.console.words import short, size
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.bench import bench_train

    value = config.value
    context, lacking = open_context(
        resolve_paths(base_dir, {}),
        device=value.device,
        dtype=value.dtype,
        compile=value.compile,
        threads=value.threads,
    )
    for line in lacking:
        click.echo(f"warning: {line}", err=True)
    speed = bench_train(value, context)
    if as_json:
        emit_json({"setting": {**setting(context), **value_of(value)}, "speed": speed})
        return
    share = "n/a" if speed.mfu is None else f"{speed.mfu:.1%}"
    rows = (
        ("model", f"{value.depth} layers, {short(speed.parameters)} parameters, {value.vocab_size:,} tokens"),
        ("step", f"{value.device_batch_size} rows of {value.sequence_len} tokens"),
        ("setting", setting_text(context)),
        ("tokens/s", f"{speed.tokens_per_s:,.0f}"),
        ("mfu", f"{share} of {speed.peak.text}"),
        ("step time", f"{speed.step_s * 1e3:,.0f} ms, of which the optimizer {speed.optimizer_s / speed.step_s:.1%}"),
        ("first step", f"{speed.first_step_s:.1f} s"),
        ("peak memory", size(speed.peak_memory_bytes)),
    )
    for name, text in rows:
        click.echo(f"{name:<12} {text}")


@click.command()
@click.argument("model", required=False, shell_complete=complete_selector)
@config_options(BenchInferConfig, "bench.infer")
@base_dir_option
@json_option
def infer(model: str | None, config: Resolved[BenchInferConfig], base_dir: str | None, as_json: bool) -> None:
    """Time prompts and answers of a model.

    MODEL is a saved one, as in `nanochat chat`; nothing means random weights of --depth. The prompts are random tokens.
    MBU is the share of the memory bandwidth, measured just before, that reading the weights and the cache takes;
    overhead is what a step takes outside of the network.
    """
    import os

    from nanochat.console.words import short, size
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.bench_infer import bench_infer

    value = config.value
    context, _ = open_context(
        resolve_paths(base_dir, os.environ), device=value.device, dtype="float32", compile="off", threads=value.threads
    )
    report = bench_infer(value, context, model, lambda line: click.echo(f"notice: {line}", err=True))
    if as_json:
        emit_json(report)
        return
    bandwidth = "bandwidth not measured" if report.bandwidth is None else f"{report.bandwidth / 1e9:.1f} GB/s"
    click.echo(
        f"{short(report.parameters)} parameters, {report.dtype} on {context.device}, {context.threads} threads, "
        f"{bandwidth}; {size(report.weight_bytes)} of weights a step, "
        f"{size(report.cache_bytes_per_token)} of cache a token"
    )
    click.echo(
        f"{'batch':>5} {'prefill tok/s':>14} {'first token':>12} {'decode tok/s':>13} {'MBU':>6} {'overhead':>9}"
    )
    for row in report.speeds:
        share = "n/a" if row.mbu is None else f"{row.mbu:.0%}"
        click.echo(
            f"{row.batch:>5} {row.prefill_tokens_per_s:>14,.0f} {row.time_to_first_token_s * 1e3:>9,.0f} ms"
            f" {row.decode_tokens_per_s:>13,.1f} {share:>6} {row.overhead_s * 1e3:>6.2f} ms"
        )


@click.command()
@config_options(BenchMatmulConfig, "bench.matmul")
@base_dir_option
@json_option
def matmul(config: Resolved[BenchMatmulConfig], base_dir: str | None, as_json: bool) -> None:
    """Time matrix products, the bound of everything else.

    The share is of the GPU's stated peak; elsewhere of the fastest size in the same number format.
    """
    from nanochat.runtime.devices import open_context
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.bench import bench_matmul

    value = config.value
    context, _ = open_context(
        resolve_paths(base_dir, {}), device=value.device, dtype="float32", compile="off", threads=value.threads
    )
    speeds = bench_matmul(value, context)
    if as_json:
        emit_json({"setting": {"device": context.device, "threads": context.threads}, "speeds": speeds})
        return
    click.echo(f"{context.device}, {context.threads_text}")
    click.echo(f"{'size':>6}  {'dtype':<9} {'GFLOP/s':>10}  {'share':>6}")
    for speed in speeds:
        click.echo(f"{speed.size:>6}  {speed.dtype:<9} {speed.flops / 1e9:>10,.0f}  {speed.share:>6.1%}")


def setting(context: RunContext) -> dict[str, Any]:
    """What the machine was told to do."""
    return {
        "device": context.device,
        "dtype": context.dtype,
        "compile": context.compile,
        "threads": context.threads,
    }


def setting_text(context: RunContext) -> str:
    """`cpu, bfloat16, compiled, 2 threads`."""
    compiled = "compiled" if context.compile else "not compiled"
    return f"{context.device}, {context.dtype}, {compiled}, {context.threads_text}"


def value_of(config: BenchTrainConfig) -> dict[str, Any]:
    """The shape that was timed."""
    names = ("depth", "head_dim", "sequence_len", "vocab_size", "window_pattern", "device_batch_size", "steps")
    return {name: getattr(config, name) for name in names}
