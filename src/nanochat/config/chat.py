"""How answers are sampled, and the settings of `nanochat chat`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from nanochat.config.fields import option
from nanochat.errors import UsageError

ToolName = Literal["calculator", "python", "none"]
TOOLS: tuple[ToolName, ...] = get_args(ToolName)

MAX_STOPS = 16
MAX_TOP_LOGPROBS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How the next token is chosen and when to stop.

    In this order: `logit_bias` is added, what has been said is made less likely, the temperature is applied, and the
    distribution is cut to the `top_k` likeliest tokens, then to the fewest of these that hold `top_p` of the
    probability, then to those that have at least `min_p` of the likeliest one's.

    Attributes:
        logit_bias: (token id, what is added to its logit); -inf forbids a token.
        stop: texts that end an answer; they are not part of it.
        top_logprobs: how many of the likeliest tokens are reported with each one that is chosen.

    Raises:
        UsageError: a value outside of its range.
    """

    temperature: float = option(0.6, "Randomness: 0 always takes the likeliest token, 1 samples as trained.")
    top_k: int | None = option(50, "Sample from this many likeliest tokens only; none for all.", unit="tokens")
    top_p: float | None = option(None, "Sample from the likeliest tokens that hold this much probability.")
    min_p: float | None = option(
        None, "Sample from tokens with at least this share of the likeliest one's probability."
    )
    repetition_penalty: float = option(1.0, "Above 1: tokens that were there before become less likely.")
    seed: int | None = option(None, "Makes sampling repeatable.")
    max_new_tokens: int = option(512, "Longest answer.", unit="tokens", flag="--max-tokens")
    logit_bias: tuple[tuple[int, float], ...] = ()
    stop: tuple[str, ...] = ()
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature ({self.temperature}) must be 0 or more", "try --temperature 0.6")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"top_k ({self.top_k}) must be at least 1", "try --top-k 50, or none for all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UsageError(f"top_p ({self.top_p}) must be above 0 and at most 1", "try --top-p 0.9")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise UsageError(f"min_p ({self.min_p}) must be between 0 and 1", "try --min-p 0.05")
        if not 0.1 <= self.repetition_penalty <= 10:
            raise UsageError(
                f"repetition_penalty ({self.repetition_penalty}) must be between 0.1 and 10; 1 is none",
                "try --repetition-penalty 1.1",
            )
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise UsageError(f"seed ({self.seed}) must be between 0 and 2**63 - 1", "try --seed 1")
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens ({self.max_new_tokens}) must be at least 1", "try --max-tokens 512")
        for token, bias in self.logit_bias:
            if token < 0 or math.isnan(bias) or bias == math.inf:
                raise UsageError(f"logit_bias of token {token} ({bias}) must be a number", "try a bias of -100 to 100")
        if len(self.stop) > MAX_STOPS or not all(self.stop):
            raise UsageError(f"stop must be at most {MAX_STOPS} texts, none of them empty", "leave some out")
        if not 0 <= self.top_logprobs <= MAX_TOP_LOGPROBS:
            raise UsageError(
                f"top_logprobs ({self.top_logprobs}) must be between 0 and {MAX_TOP_LOGPROBS}", "ask for 5"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig(SamplingConfig):
    """Settings of `nanochat chat`."""

    system: str | None = option(None, "Text put before the first message of every conversation.")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "Where to compute.")
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = option(
        "auto",
        "Number format of the weights; auto is bfloat16 where it is fast; int8 is for large models on a CPU.",
    )
    tool: ToolName = option("calculator", "What the model may call; python runs its programs in the sandbox.")
    unsafe_exec: bool = option(False, "Run its programs also where the sandbox of this machine is weak.")
    url: str | None = option(None, "Talk to a model of an OpenAI-compatible server; MODEL is its name there.")
    api_key_env: str = option("OPENAI_API_KEY", "Environment variable that holds the key of that server.")


GREEDY = SamplingConfig(temperature=0.0)
"""Always the likeliest token, as evaluation wants it."""
