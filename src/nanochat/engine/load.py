"""From a selector to an engine."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nanochat.checkpoints.selector import load_for_inference
from nanochat.checkpoints.store import Checkpoint
from nanochat.config.chat import ToolName
from nanochat.engine.calculator import calculate
from nanochat.engine.engine import Engine
from nanochat.engine.network import Network
from nanochat.engine.tools import Tool
from nanochat.errors import DamagedError
from nanochat.model.sizes import count_parameters
from nanochat.runtime.devices import pick_dtype
from nanochat.runtime.paths import Paths

LARGE = 50_000_000  # parameters from which the half second of measuring whether bfloat16 is fast is worth its time


def load_engine(
    paths: Paths,
    selector: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = torch.float32,
    on_notice: Callable[[str], None] | None = None,
    *,
    rows: int | None = None,
    tool: ToolName = "calculator",
) -> tuple[Engine, Checkpoint]:
    """The engine of the model that a selector names, and the checkpoint it came from.

    Args:
        paths: where models are.
        selector: `d12:sft@650`; None is the newest.
        device: where to compute.
        dtype: of weights and activations; int8 is that of weights, whose activations are bfloat16; None is the
            fastest of float32 and bfloat16, or float16 on a GPU that has no bfloat16.
        on_notice: told in one line each what was passed over.
        rows: see `Engine`.
        tool: what the model may call.

    Raises:
        MissingError, UsageError, DamagedError: as `load_for_inference`, and as `Network`.
        DamagedError: the tokenizer is that of another model.
    """
    checkpoint = load_for_inference(paths, selector, on_notice)
    tokens, rows_of_model = checkpoint.tokenizer.vocab_size, checkpoint.model_config.vocab_size
    if tokens != rows_of_model:
        raise DamagedError(
            f"{checkpoint.path}: its tokenizer has {tokens:,} tokens, its model {rows_of_model:,}",
            "they are of different models: copy the whole folder again, or choose another step",
        )
    if dtype is None:
        dtype = fastest_dtype(str(device), count_parameters(checkpoint.model_config).total)
    network = build_network(checkpoint, device, dtype)
    return Engine(network, checkpoint.tokenizer, rows=rows, tool=pick_tool(tool)), checkpoint


def pick_tool(name: ToolName) -> Tool | None:
    """The tool of that name."""
    if name == "python":
        from nanochat.engine.python_tool import run

        return run
    return calculate if name == "calculator" else None


def build_network(checkpoint: Checkpoint, device: str | torch.device, dtype: torch.dtype) -> Network:
    """The model of a checkpoint for use, not for training."""
    int8 = dtype == torch.int8
    return Network(
        checkpoint.model_config,
        checkpoint.model_state,
        torch.device(device),
        torch.bfloat16 if int8 else dtype,
        int8=int8,
    )


def fastest_dtype(device: str, parameters: int) -> torch.dtype:
    """What a model of this size runs fastest in; small ones on a CPU are quick in float32, and nothing is measured."""
    if device == "cpu" and parameters < LARGE:
        return torch.float32
    dtype: torch.dtype = getattr(torch, pick_dtype("auto", device))
    return dtype
