"""How answers are sampled, and the settings of `nanochat chat`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nanochat.config.fields import option
from nanochat.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How the next token is chosen and when to stop.

    The distribution is cut to the `top_k` likeliest tokens first, then to the fewest of these that hold
    `top_p` of the probability.

    Raises:
        UsageError: a value outside of its range.
    """

    temperature: float = option(0.6, "Randomness: 0 always takes the likeliest token, 1 samples as trained.")
    top_k: int | None = option(50, "Sample from this many likeliest tokens only; none for all.", unit="tokens")
    top_p: float | None = option(None, "Sample from the likeliest tokens that hold this much probability.")
    seed: int | None = option(None, "Makes sampling repeatable.")
    max_new_tokens: int = option(512, "Longest answer.", unit="tokens", flag="--max-tokens")

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature ({self.temperature}) must be 0 or more", "try --temperature 0.6")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k ({self.top_k}) must be at least 1", "try --top-k 50, or none for all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p ({self.top_p}) must be above 0 and at most 1", "try --top-p 0.9")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(f"seed ({self.seed}) must be between 0 and 2**63 - 1", "try --seed 1")
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens ({self.max_new_tokens}) must be at least 1", "try --max-tokens 512")


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig(SamplingConfig):
    """Settings of `nanochat chat`."""

    system: str | None = option(None, "Text put before the first message of every conversation.")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "Where to compute.")
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "Number format of weights and activations; auto is bfloat16 on a GPU that has it, else float32.",
    )


GREEDY = SamplingConfig(temperature=0.0)
"""Always the likeliest token, as evaluation wants it."""
