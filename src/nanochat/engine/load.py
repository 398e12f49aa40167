"""From a selector to an engine."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nanochat.checkpoints.selector import load_for_inference
from nanochat.checkpoints.store import Checkpoint
from nanochat.engine.engine import Engine
from nanochat.model.gpt import GPT
from nanochat.runtime.paths import Paths


def load_engine(
    paths: Paths,
    selector: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    on_notice: Callable[[str], None] | None = None,
) -> tuple[Engine, Checkpoint]:
    """The engine of the model that a selector names, and the checkpoint it came from.

    Args:
        paths: where models are.
        selector: `d12:sft@650`; None is the newest.
        device: where to compute.
        dtype: of weights, activations and cache.
        on_notice: told in one line each what was passed over.

    Raises:
        MissingError, UsageError, DamagedError: as `load_for_inference`.
    """
    checkpoint = load_for_inference(paths, selector, on_notice)
    return Engine(build_model(checkpoint, device, dtype), checkpoint.tokenizer), checkpoint


def build_model(checkpoint: Checkpoint, device: str | torch.device, dtype: torch.dtype) -> GPT:
    """The model of a checkpoint for use, not for training: weights themselves are in `dtype`."""
    model = GPT(checkpoint.model_config)
    model.load_state_dict(checkpoint.model_state)
    return model.to(device=device, dtype=dtype).compute_in(dtype).eval().requires_grad_(False)
