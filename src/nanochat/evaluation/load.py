"""From a selector to the network of training, for passes that have no cache to continue from."""

from __future__ import annotations

from collections.abc import Callable

import torch

from nanochat.checkpoints.selector import load_for_inference
from nanochat.checkpoints.store import Checkpoint
from nanochat.model.gpt import GPT
from nanochat.runtime.paths import Paths


def load_model(
    paths: Paths,
    selector: str | None,
    device: str,
    dtype: torch.dtype,
    on_notice: Callable[[str], None] | None = None,
) -> tuple[GPT, Checkpoint]:
    """The model that a selector names, and its checkpoint, whose tensors are forgotten.

    Args:
        paths: where models are.
        selector: `d12:base@5000`; None is the newest.
        device: where to compute.
        dtype: what to compute in.
        on_notice: told in one line each what was passed over.

    Raises:
        MissingError, UsageError, DamagedError: as `load_for_inference`.
    """
    checkpoint = load_for_inference(paths, selector, on_notice)
    model = GPT(checkpoint.model_config)
    model.load_state_dict(checkpoint.model_state)
    checkpoint.forget_tensors()
    return model.to(device).eval().requires_grad_(False).compute_in(dtype), checkpoint
