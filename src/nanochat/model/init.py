"""Starting weights: era D's, for every era (the older ones train with today's optimizer too)."""

from __future__ import annotations

import math

import torch

from nanochat.model.gpt import GPT


@torch.no_grad()
def init_weights(model: GPT, seed: int) -> GPT:
    """Fill all parameters from `seed`; the same on every device, since the numbers are drawn on the CPU.

    Matrices into a layer are uniform with the standard deviation 1/sqrt(C); matrices out of one are zero, so every
    block begins as the identity; lm_head is small, so the first loss is ln(V).

    Returns:
        The model itself.
    """
    generator = torch.Generator().manual_seed(seed)
    config = model.config
    bound = math.sqrt(3.0 / config.n_embd)

    def uniform(weight: torch.Tensor, low: float, high: float) -> None:
        weight.copy_(torch.empty(weight.shape).uniform_(low, high, generator=generator))

    def normal(weight: torch.Tensor, std: float) -> None:
        weight.copy_(torch.empty(weight.shape).normal_(0.0, std, generator=generator))

    normal(model.transformer["wte"].weight, 0.8)  # type: ignore[arg-type]
    normal(model.lm_head.weight, 0.001)
    for layer, block in enumerate(model.blocks):
        for matrix in (block.attn.c_q, block.attn.c_k, block.attn.c_v):  # type: ignore[union-attr]
            uniform(matrix.weight, -bound, bound)
        uniform(block.mlp.c_fc.weight, -0.4 * bound, 0.4 * bound)  # type: ignore[union-attr, arg-type]
        block.attn.c_proj.weight.zero_()  # type: ignore[union-attr, operator]
        block.mlp.c_proj.weight.zero_()  # type: ignore[union-attr, operator]
        if config.has_value_embed(layer):
            uniform(block.attn.ve_gate.weight, 0.0, 0.02)  # type: ignore[union-attr, arg-type]
            uniform(model.value_embeds[str(layer)].weight, -bound, bound)  # type: ignore[arg-type]
    if config.residual_lambdas:
        depth = torch.linspace(0, 1, config.n_layer) if config.n_layer > 1 else torch.zeros(1)
        model.resid_lambdas.copy_(1.15 - 0.10 * depth)
        model.x0_lambdas.copy_(0.20 - 0.15 * depth)
    if config.smear:
        model.smear_lambda.zero_()
        uniform(model.smear_gate.weight, 0.0, 0.02)
    if config.backout:
        model.backout_lambda.fill_(0.2)
    return model
