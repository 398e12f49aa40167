"""What a training stage decides before its first step: kernels, rows at a time, number format, compiler, threads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from nanochat.checkpoints.layout import read_json
from nanochat.config.stages import STAGES
from nanochat.config.train import TrainConfig
from nanochat.model.backends import AttentionChoice, choose_attention, this_machine
from nanochat.model.gpt import GPT
from nanochat.model.linear import check_fp8, use_fp8
from nanochat.runtime.context import RunContext
from nanochat.runtime.devices import cpu_name, pick_threads
from nanochat.runtime.memory import free_bytes
from nanochat.training.device_batch import DeviceBatch, first_guess
from nanochat.training.probe import STEPS, Probe, Variant, is_worthwhile, probe, same_setting, settled

OnNotice = Callable[[str, str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """The kernels a model was given, and lines a person may read about them."""

    attention: AttentionChoice
    lines: tuple[str, ...]


def place_model(
    model: GPT, context: RunContext, *, require_attn: str = "any", fp8: bool = False, recompute: bool = False
) -> Placement:
    """Put a model where the context computes, in its dtype, with the kernels the machine has for it.

    Args:
        model: whose weights are moved.
        context: the machine.
        require_attn: name of an attention kernel, or "any".
        fp8: multiply large matrices in 8 bits.
        recompute: keep no activations within blocks.

    Raises:
        UsageError: a kernel or a number format was required that cannot be had.
    """
    machine = this_machine(context.device, context.dtype, compile=context.compile)
    if fp8:
        check_fp8(machine.device, machine.capability)
    attention = choose_attention(machine, model.config, require=require_attn)
    model.to(context.device).compute_in(getattr(torch, context.dtype)).use_attention(attention.attend).train()
    model.recompute = recompute
    lines = [attention.line]
    if fp8:
        lines.append(f"fp8: {use_fp8(model.blocks)} matrices are multiplied in 8 bits")
    return Placement(attention=attention, lines=tuple(lines))


def choose_device_batch(
    config: TrainConfig, model: GPT, row_len: int, context: RunContext, batch_tokens: int, notice: OnNotice
) -> DeviceBatch:
    """Rows per micro-step: those asked for, or for auto a guess that is lowered when memory ends.

    Args:
        config: the stage's dials.
        model: on the device already, so that what is free is free for activations.
        row_len: tokens of a row.
        context: the machine.
        batch_tokens: tokens of a step.
        notice: told (line, level) what was chosen.
    """
    step_rows = batch_tokens // (row_len * context.world_size)

    def lowered(rows: int) -> None:
        notice(f"out of memory: going on with {rows} rows at a time, {step_rows // rows} times a step", "info")

    rows = config.device_batch_size
    if not rows:
        # gradients and two momenta come on top of the weights, which are there
        momenta = 3 * 4 * sum(param.numel() for param in model.parameters() if param.requires_grad)
        free = free_bytes(context.device)
        if context.device == "cpu":
            free //= context.processes.local_world_size  # all of them see the same
        # one number for all: batches of validation have as many rows, and must be the same everywhere
        least = int(context.processes.least(free - momenta))
        rows = first_guess(replace(model.config, sequence_len=row_len), step_rows, context.device, least)
        notice(f"device batch: {rows} rows at a time, {step_rows // rows} times a step", "info")
    return DeviceBatch(
        rows=rows,
        step_rows=step_rows,
        automatic=not config.device_batch_size,
        device=context.device,
        on_lower=lowered,
    )


def choose_settings(
    model: GPT,
    context: RunContext,
    tag: str,
    stage: str,
    shape: tuple[int, int],
    micro_steps: int,
    notice: OnNotice,
) -> tuple[RunContext, dict[str, Any]]:
    """Measure what is open, or take over what this stage or one before it measured here with the same shape.

    Args:
        model: on its device.
        context: the machine.
        tag: of the model.
        stage: the one that is about to train.
        shape: rows and their length, of a micro-step.
        micro_steps: of the run.
        notice: told (line, level) what was measured.

    Returns:
        The context to train in, and what the record of the run says about it: empty where nothing was measured.
    """
    if context.device != "cpu" or not context.open:
        return context, {}
    best, record = context.processes.first_does(
        lambda: _measured(model, context, tag, stage, shape, micro_steps, notice)
    )
    if best is None:
        return context, record
    torch.set_num_threads(best.threads)
    return settled(context, best), record


def _measured(
    model: GPT,
    context: RunContext,
    tag: str,
    stage: str,
    shape: tuple[int, int],
    micro_steps: int,
    notice: OnNotice,
) -> tuple[Variant | None, dict[str, Any]]:
    """The fastest variant, None where none is worth measuring, and the record."""
    key = {
        "cpu": cpu_name(),
        "cores": pick_threads(0),
        "processes": context.world_size,
        "torch": torch.__version__,
        "open": sorted(context.open),
        "asked": [context.dtype, context.compile, context.threads],
        "rows": shape[0],
        "model": replace(model.config, sequence_len=shape[1]).to_dict(),
    }
    for earlier in reversed(STAGES[: STAGES.index(stage) + 1]):
        config = read_json(context.paths.model_dir(tag, earlier) / "config.json") or {}
        record = config.get("machine", {}).get("probe", {})
        if best := same_setting(record, key):
            return best, record
    if not is_worthwhile(context, micro_steps):
        return None, {}
    notice(f"measuring {STEPS} steps of each number format, with and without the compiler…", "info")
    measured = probe(model, context, shape[0], micro_steps, row_len=shape[1])
    notice(measured.text, "info")
    return measured.best, _record(measured, key)


def _record(measured: Probe, key: dict[str, Any]) -> dict[str, Any]:
    table = [asdict(variant) for variant in measured.variants]
    return {"seconds": round(measured.seconds, 2), "best": asdict(measured.best), "table": table, "key": key}
