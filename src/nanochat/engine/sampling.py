"""The next token from the logits of the last one: each row with its own settings and its own random numbers.

A row draws one number for each token, from a generator of its own, and takes the token at that place of its
distribution. What it draws therefore depends on its seed alone, and not on the rows beside it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.config.chat import SamplingConfig
from nanochat.errors import DivergedError

LIKELY = 1024  # tokens that hold top_p of the probability nearly always; to sort them all takes 50 times as long


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen token.

    Attributes:
        token: its id.
        logprob: its log-probability under softmax(logits): before bias, penalty, temperature and truncation.
        top: (id, log-probability) of the likeliest tokens, likeliest first, as many as were asked for.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


class Sampler:
    """How one row chooses.

    Args:
        config: temperature 0 takes the likeliest token, the lowest id among equals.
    """

    def __init__(self, config: SamplingConfig) -> None:
        self.config = config
        self._generator = torch.Generator()
        if config.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(config.seed)

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is taken, as the model has it."""
        config = self.config
        return config.temperature == 0 and config.repetition_penalty == 1 and not config.logit_bias

    def draw(self) -> float:
        """A random number from 0 to 1."""
        return float(torch.rand((), generator=self._generator, dtype=torch.float64))


def choose(logits: Tensor, samplers: Sequence[Sampler], said: Sequence[Collection[int]]) -> list[Choice]:
    """One token for each row.

    Args:
        logits: (B, V) float32, before softmax.
        samplers: of the B rows.
        said: the tokens of each row so far, for the penalty.

    Raises:
        DivergedError: the logits are not numbers.
    """
    logprobs = logits.log_softmax(dim=-1)
    if any(map(math.isnan, logprobs[:, 0].tolist())):  # one such logit makes all of its row such
        raise DivergedError("the model's output is not a number", "choose an earlier checkpoint: nanochat models list")
    ids = logits.argmax(dim=-1)
    if not all(sampler.plain for sampler in samplers):
        chosen = ids.tolist()
        for row, sampler in enumerate(samplers):
            if not sampler.plain:
                chosen[row] = _choose(logits[row], sampler, said[row])
        ids = torch.tensor(chosen, device=logits.device)
    of_chosen = logprobs.gather(-1, ids[:, None])[:, 0].tolist()
    return [
        Choice(token, logprob, _top(logprobs[row], samplers[row].config.top_logprobs))
        for row, (token, logprob) in enumerate(zip(ids.tolist(), of_chosen, strict=True))
    ]


def distribution(logits: Tensor, config: SamplingConfig, said: Collection[int] = ()) -> tuple[Tensor, Tensor]:
    """What a row samples from.

    Args:
        logits: (V,) float32.
        config: with a temperature above 0.
        said: the tokens of the row so far.

    Returns:
        (K,) float32 probabilities that sum to 1, and (K,) ids of the tokens they belong to, K <= V.
    """
    logits = adjusted(logits, config, said)
    # The maximum goes first: dividing by a tiny temperature must not make inf - inf.
    scores = (logits - logits.max()) / config.temperature
    ids = torch.arange(scores.numel(), device=scores.device)
    if config.top_k is not None and config.top_k < scores.numel():
        scores, ids = scores.topk(config.top_k)  # sorted, likeliest first
    probabilities = scores.softmax(dim=-1)
    if config.top_p is not None and config.top_p < 1:
        kept = _nucleus(probabilities, config.top_p)
        probabilities, ids = probabilities[kept], ids[kept]
    if config.min_p:
        likely = probabilities >= config.min_p * probabilities.max()
        probabilities, ids = probabilities[likely], ids[likely]
    return probabilities / probabilities.sum(), ids


def adjusted(logits: Tensor, config: SamplingConfig, said: Collection[int]) -> Tensor:
    """(V,) logits with bias and penalty (CTRL, arXiv 1909.05858): positive ones divided, negative ones multiplied."""
    if config.logit_bias:
        logits = logits.clone()
        for token, bias in config.logit_bias:
            if token < logits.numel():
                logits[token] += bias
    if config.repetition_penalty != 1 and said:
        at = torch.tensor(sorted(set(said)), device=logits.device)
        before = logits[at]
        penalty = config.repetition_penalty
        logits = logits.index_copy(0, at, torch.where(before > 0, before / penalty, before * penalty))
    return logits


def _choose(logits: Tensor, sampler: Sampler, said: Collection[int]) -> int:
    """(V,) logits -> the token that one row takes."""
    if sampler.config.temperature == 0:
        return int(adjusted(logits, sampler.config, said).argmax())
    probabilities, ids = distribution(logits, sampler.config, said)
    total = probabilities.cumsum(dim=-1, dtype=torch.float64)
    # Rounding can leave the sum a little off 1, and what follows the last possible token is impossible.
    place = torch.searchsorted(total, sampler.draw() * total[-1], right=True)
    return int(ids[place.clamp_max(int((probabilities > 0).nonzero()[-1]))])


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Places of the fewest likeliest tokens that hold `top_p`, likeliest first."""
    count = probabilities.numel()
    likeliest, at = probabilities.topk(min(count, LIKELY))
    if count > LIKELY and likeliest.sum() < top_p:
        likeliest, at = probabilities.sort(descending=True)
    before = likeliest.cumsum(dim=-1) - likeliest  # mass of the likelier ones
    before[0] = 0
    return at[before < top_p]


def _top(logprobs: Tensor, count: int) -> tuple[tuple[int, float], ...]:
    if not count:
        return ()
    values, ids = logprobs.topk(min(count, logprobs.numel()))
    return tuple(zip(ids.tolist(), values.tolist(), strict=True))
