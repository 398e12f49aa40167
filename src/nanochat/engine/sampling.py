"""The next token from the logits of the last one."""

from __future__ import annotations

import torch
from torch import Tensor

from nanochat.config.chat import SamplingConfig


def make_generator(config: SamplingConfig, device: torch.device) -> torch.Generator:
    """Random numbers for one generation: repeatable when the configuration has a seed."""
    generator = torch.Generator(device=device)
    if config.seed is None:
        generator.seed()
    else:
        generator.manual_seed(config.seed)
    return generator


def sample(logits: Tensor, config: SamplingConfig, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """Choose one token for each row.

    Args:
        logits: (B, V) float32, before softmax.
        config: temperature 0 takes the likeliest token, the lowest id among equals.
        generator: on the device of the logits; the global one when None.

    Returns:
        (B,) int64 ids, and (B,) float32 log-probabilities of these under softmax(logits), that is before
        temperature and truncation.
    """
    logprobs = torch.log_softmax(logits, dim=-1)
    if config.temperature == 0:
        ids = logits.argmax(dim=-1)
    else:
        ids = _draw(logits, config, generator)
    return ids, logprobs.gather(-1, ids[:, None])[:, 0]


def _draw(logits: Tensor, config: SamplingConfig, generator: torch.Generator | None) -> Tensor:
    """(B, V) logits -> (B,) ids, at a temperature above 0."""
    # The maximum goes first: dividing by a tiny temperature must not make inf - inf.
    scaled = (logits - logits.amax(dim=-1, keepdim=True)) / config.temperature
    ids: Tensor | None = None
    if config.top_k is not None and config.top_k < scaled.size(-1):
        scaled, ids = scaled.topk(config.top_k, dim=-1)  # sorted, likeliest first
    if config.top_p is not None and config.top_p < 1:
        if ids is None:
            scaled, ids = scaled.sort(dim=-1, descending=True)
        probabilities = scaled.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities  # mass of the likelier ones; 0 for the first
        before[:, 0] = 0
        scaled = scaled.masked_fill(before >= config.top_p, -torch.inf)
    drawn = torch.multinomial(scaled.softmax(dim=-1), 1, generator=generator)  # (B, 1)
    return (drawn if ids is None else ids.gather(-1, drawn))[:, 0]
