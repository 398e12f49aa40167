"""How long to train, in what batches, with how much decay: the scaling rules of era D.

All are functions of the model's config. The reference point is depth 12 with the same vocabulary and head size,
whose best batch is 2^19 tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nanochat.config.model import ModelConfig, model_shape
from nanochat.model.sizes import count_parameters

REFERENCE_DEPTH = 12
REFERENCE_BATCH = 2**19
BATCH_EXPONENT = 0.383
REFERENCE_DECAY = 0.28


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """A run's length. `tokens` is `steps * batch_tokens`; `weight_decay` is Muon's at the start."""

    tokens: int
    batch_tokens: int
    steps: int
    weight_decay: float

    @property
    def batch_scale(self) -> float:
        """sqrt(batch / 2^19): the factor on learning rates."""
        return math.sqrt(self.batch_tokens / REFERENCE_BATCH)


def reference_tokens(config: ModelConfig, ratio: float) -> float:
    """Tokens of the same recipe at depth 12."""
    shape = model_shape(REFERENCE_DEPTH, head_dim=config.head_dim)
    reference = ModelConfig.from_dict({**config.to_dict(), **shape})
    return ratio * count_parameters(reference).scaling


def optimal_batch(tokens: float, tokens_ref: float) -> int:
    """2^19 * (tokens/tokens_ref)^0.383, rounded to a power of two (arXiv 2505.13738: batch grows with the data)."""
    return 2 ** round(math.log2(REFERENCE_BATCH * (tokens / tokens_ref) ** BATCH_EXPONENT))


def plan_horizon(
    config: ModelConfig,
    *,
    ratio: float = 12.0,
    steps: int | None = None,
    batch_tokens: int | None = None,
    weight_decay: float = REFERENCE_DECAY,
) -> Horizon:
    """The length of a run by ratio of tokens to parameters, or by steps.

    Args:
        config: the model.
        ratio: tokens per parameter of block matrices and lm_head.
        steps: overrides the ratio.
        batch_tokens: overrides the automatic batch.
        weight_decay: at the reference point; scaled by sqrt(batch/2^19) * tokens_ref/tokens.
    """
    tokens_ref = reference_tokens(config, ratio)
    tokens = ratio * count_parameters(config).scaling
    batch = batch_tokens or optimal_batch(tokens, tokens_ref)
    count = steps if steps is not None else max(1, math.ceil(tokens / batch))
    decay = weight_decay * math.sqrt(batch / REFERENCE_BATCH) * tokens_ref / tokens
    return Horizon(tokens=count * batch, batch_tokens=batch, steps=count, weight_decay=decay)
