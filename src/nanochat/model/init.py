"""Starting weights: era D's, for every era (the older ones train with today's optimizer too)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nanochat.model.gpt import GPT


@torch.no_grad()
def init_weights(model: GPT, seed: int) -> GPT:
    """Fill all parameters from `seed`; the same on every device, since the numbers are drawn on the CPU.

    Matrices into attention are uniform within +-sqrt(3/C), which is a standard deviation of 1/sqrt(C), those into the
    MLP within 0.4 of it; matrices out of either are zero, so every block begins as the identity; lm_head is small, so
    the first loss is ln(V). Source: the reference system, March 2026.

    Returns:
        The model itself.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        weight.copy_(_starting_value(model, name.removesuffix(".weight"), weight, generator))
    return model


def _starting_value(model: GPT, name: str, weight: Tensor, generator: torch.Generator) -> Tensor:
    """The value of one parameter, by its place in the model; shaped as `weight`, float32 on the CPU."""
    value = torch.zeros(weight.shape)
    bound = math.sqrt(3.0 / model.config.n_embd)
    depth = torch.linspace(0, 1, model.config.n_layer) if model.config.n_layer > 1 else torch.zeros(1)
    place = name.rpartition(".")[2]
    if name.startswith("value_embeds.") or place in ("c_q", "c_k", "c_v"):
        return value.uniform_(-bound, bound, generator=generator)
    match place:
        case "wte":
            return value.normal_(0.0, 0.8, generator=generator)
        case "lm_head":
            return value.normal_(0.0, 0.001, generator=generator)
        case "c_fc":
            return value.uniform_(-0.4 * bound, 0.4 * bound, generator=generator)
        case "ve_gate" | "smear_gate":
            return value.uniform_(0.0, 0.02, generator=generator)
        case "resid_lambdas":
            return 1.15 - 0.10 * depth
        case "x0_lambdas":
            return 0.20 - 0.15 * depth
        case "backout_lambda":
            return value.fill_(0.2)
        case "c_proj" | "smear_lambda":
            return value
    raise KeyError(f"no starting value is known for {name}")
