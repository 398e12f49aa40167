"""How long to train, in what batches, with how much decay: the scaling rules, of today and of 2025.

All are functions of the model's config. The reference point is depth 12 with the same vocabulary and head size,
whose best batch is 2^19 tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from nanochat.config.model import ModelConfig, model_shape
from nanochat.config.train import BaseTrainConfig
from nanochat.model.sizes import count_parameters, flops_per_token

REFERENCE_DEPTH = 12
REFERENCE_BATCH = 2**19
BATCH_EXPONENT = 0.383
REFERENCE_DECAY = 0.28


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What a recipe makes of the size of a model.

    Attributes:
        ratio: tokens per parameter (Chinchilla's rule, arXiv 2203.15556, has 20).
        all_parameters: whether every parameter counts, or those of block matrices and lm_head alone.
        batch_tokens: a batch for models of any size; None lets it grow with the run.
    """

    ratio: float
    all_parameters: bool = False
    batch_tokens: int | None = None

    def tokens(self, config: ModelConfig, ratio: float | None = None) -> float:
        """Training tokens of a model, with another ratio than the recipe's where one is given."""
        counts = count_parameters(config)
        return (ratio or self.ratio) * (counts.total if self.all_parameters else counts.scaling)


MODERN = Rule(ratio=12.0)
CLASSIC = Rule(ratio=20.0, all_parameters=True, batch_tokens=REFERENCE_BATCH)
RULES = {"modern": MODERN, "classic": CLASSIC}


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


def reference_config(config: ModelConfig) -> ModelConfig:
    """The model of depth 12 with the vocabulary, head size and architecture of `config`."""
    shape = model_shape(REFERENCE_DEPTH, head_dim=config.head_dim)
    return ModelConfig.from_dict({**config.to_dict(), **shape})


def optimal_batch(tokens: float, tokens_ref: float) -> int:
    """2^19 * (tokens/tokens_ref)^0.383, rounded to a power of two (arXiv 2505.13738: batch grows with the data)."""
    return 2 ** round(math.log2(REFERENCE_BATCH * (tokens / tokens_ref) ** BATCH_EXPONENT))


def scaled_decay(decay: float, batch_tokens: int, tokens: float, tokens_ref: float) -> float:
    """Muon's weight decay: `decay` * sqrt(batch / 2^19) * tokens_ref / tokens.

    It keeps the time over which weights are forgotten a fixed share of the run (arXiv 2405.13698).
    """
    return decay * math.sqrt(batch_tokens / REFERENCE_BATCH) * tokens_ref / tokens


def base_horizon(config: BaseTrainConfig, model: ModelConfig, processes: int = 1) -> Horizon:
    """Length and batch of the run that trains `model` on so many processes, which changes neither.

    Raises:
        UsageError: the batch is not a multiple of what one micro-step holds.
    """
    horizon = plan_horizon(
        model,
        rule=RULES[config.recipe],
        ratio=config.ratio,
        flops=config.target_flops,
        steps=config.num_steps or None,
        batch_tokens=config.total_batch_size or None,
        weight_decay=config.weight_decay,
    )
    config.micro_steps(model.sequence_len, horizon.batch_tokens, processes)
    return horizon


def plan_horizon(
    config: ModelConfig,
    *,
    rule: Rule = MODERN,
    ratio: float | None = None,
    flops: float | None = None,
    steps: int | None = None,
    batch_tokens: int | None = None,
    weight_decay: float = REFERENCE_DECAY,
) -> Horizon:
    """The length of a run: by steps, else by FLOPs, else by the ratio of tokens to parameters.

    Batch and decay follow the ratio in all three cases: a run that is cut short is the beginning of the long one.

    Args:
        config: the model.
        rule: the recipe's.
        ratio: tokens per parameter, in place of the rule's.
        flops: what the whole run may cost, in floating-point operations (`sizes.flops_per_token`).
        steps: optimizer steps.
        batch_tokens: tokens of a step, in place of the rule's.
        weight_decay: Muon's at the reference point.
    """
    tokens = rule.tokens(config, ratio)
    tokens_ref = rule.tokens(reference_config(config), ratio)
    batch = batch_tokens or rule.batch_tokens or optimal_batch(tokens, tokens_ref)
    if steps is None:
        if flops is None:
            steps = math.ceil(tokens / batch)
        else:
            steps = round(flops / (flops_per_token(config) * batch))
        steps = max(1, steps)
    return Horizon(
        tokens=steps * batch,
        batch_tokens=batch,
        steps=steps,
        weight_decay=scaled_decay(weight_decay, batch, tokens, tokens_ref),
    )
