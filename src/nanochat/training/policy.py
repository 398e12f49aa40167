"""The policy gradient: from answers and what they were paid to the rows, weights and loss of a step.

An answer's advantage is its reward less the mean of those to the same example. Every token that the model itself
chose gets the weight `advantage / (valid tokens of all answers to the example) / examples`, and the loss is the sum
of `-weight * log p(token)`: token-level normalisation within an example, then the mean over examples (REINFORCE with
a mean baseline; the normalisation is that of DAPO, arXiv 2503.14476, per example). The weights know the whole step, so
rows per micro-step and processes change nothing. Tokens that a tool has put in weigh nothing.

Without a penalty, rows without advantage have no gradient and are left out: it is the same update for less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nanochat.model.gpt import GPT
from nanochat.training.batches import Batch


@dataclass(frozen=True, slots=True)
class Rollout:
    """An answer that the model gave.

    Attributes:
        prompt: token ids.
        tokens: the answer's, with the one that ended it.
        forced: which of them were put in by a tool.
        reward: what it was paid.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    forced: tuple[bool, ...]
    reward: float

    @property
    def chosen(self) -> int:
        """Tokens that the model chose itself."""
        return len(self.tokens) - sum(self.forced)


@dataclass(frozen=True, slots=True)
class PolicyBatch(Batch):
    """Rows of answers with weights; `targets` are -1 where the model did not choose.

    Attributes:
        weights: (B, T) float32, what -log p of each target is multiplied with.
        shares: (B, T) float32, what the divergence of each target is multiplied with.
        before: (B, T) float32 log-probabilities before the first update; None with one update.
        start: (B, T) float32 log-probabilities of the starting model; None without a penalty.
        generated: tokens that the model chose, of all processes, those that have no weight too.
    """

    weights: Tensor | None = None
    shares: Tensor | None = None
    before: Tensor | None = None
    start: Tensor | None = None
    generated: int = 0

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """See `Batch`: what `policy_loss` takes."""
        found = (self.ids, self.targets, self.weights, self.shares, self.before, self.start)
        return tuple(tensor for tensor in found if tensor is not None)

    def divisor(self, supervised: int) -> int:
        """See `Batch`: the weights are normalised already."""
        return 1

    def tokens(self, world_size: int) -> int:
        """See `Batch`."""
        return self.generated


def advantages(rewards: Sequence[float]) -> list[float]:
    """Rewards of the answers to one example, less their mean; exactly 0 where all are alike.

    What rounding would leave is no signal, and an optimizer that divides by the size of gradients would make it one.
    """
    if min(rewards) == max(rewards):
        return [0.0] * len(rewards)
    mean = sum(rewards) / len(rewards)
    return [reward - mean for reward in rewards]


def policy_batch(
    groups: Sequence[Sequence[Rollout]],
    *,
    examples: int,
    pad: int,
    keep_all: bool,
    multiple: int = 1,
    places: tuple[int, ...] = (),
) -> PolicyBatch:
    """The rows of some examples of a step.

    Args:
        groups: the answers to each example.
        examples: of the step, in all processes.
        pad: the id rows are filled up with.
        keep_all: also rows without advantage.
        multiple: of which the number of rows is to be one; those that are added have no targets.
        places: numbers of the step's examples, for messages.
    """
    rows: list[tuple[Rollout, float, float]] = []
    for group in groups:
        share = 1 / (max(1, sum(rollout.chosen for rollout in group)) * examples)
        for rollout, advantage in zip(group, advantages([rollout.reward for rollout in group]), strict=True):
            if keep_all or advantage:
                rows.append((rollout, advantage * share, share))
    while not rows or len(rows) % multiple:  # every process needs gradients, were they zero: one row at least
        rows.append((Rollout((pad,), (pad,), (True,), 0.0), 0.0, 0.0))
    length = row_length(max(len(rollout.prompt) + len(rollout.tokens) for rollout, _, _ in rows) - 1)
    ids = torch.full((len(rows), length + 1), pad)
    valid = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, (rollout, _, _) in enumerate(rows):
        whole = torch.tensor(rollout.prompt + rollout.tokens)
        ids[number, : len(whole)] = whole
        chosen = ~torch.tensor(rollout.forced, dtype=torch.bool)
        valid[number, len(rollout.prompt) - 1 : len(whole) - 1] = chosen
    weights = torch.tensor([weight for _, weight, _ in rows])[:, None] * valid
    shares = torch.tensor([share for _, _, share in rows])[:, None] * valid if keep_all else None
    targets = ids[:, 1:].masked_fill(~valid, -1)
    return PolicyBatch(ids[:, :-1].contiguous(), targets, places, weights=weights, shares=shares)


def row_length(longest: int) -> int:
    """`longest` rounded up to 16, 24, 32, 48, 64, 96, ...: few lengths, each of which is compiled once."""
    length = 16
    while length < longest:
        length = length * 3 // 2 if length & (length - 1) == 0 else length // 3 * 4
    return length


def policy_loss(model: GPT, *, clip: float = 0.0, kl: float = 0.0, moved: bool = False) -> Callable[..., Tensor]:
    """The loss of rows, to be summed over all rows of a step.

    Args:
        model: the one that learns.
        clip: the pessimistic bound of PPO (arXiv 1707.06347) on the ratio of probabilities; 0 is none.
        kl: weight of the divergence from the starting model, estimated as exp(d) - d - 1 with d the difference of
            the log-probabilities (http://joschu.net/blog/kl-approx.html).
        moved: whether batches hold `before`.

    Returns:
        (ids, targets, weights[, shares][, before][, start]) -> a scalar.
    """

    def loss(ids: Tensor, targets: Tensor, weights: Tensor, *rest: Tensor) -> Tensor:
        logprobs = -model(ids, targets, reduction="none")  # (B, T), 0 where nothing counts
        others = list(rest)
        shares = others.pop(0) if others and kl else None
        if moved:
            ratio = (logprobs - others.pop(0)).exp()
            gain = ratio * weights
            if clip:
                gain = torch.minimum(gain, ratio.clamp(1 - clip, 1 + clip) * weights)
            total = -gain.sum()
        else:
            total = -(logprobs * weights).sum()
        if shares is not None:
            distance = others.pop(0) - logprobs
            total = total + kl * ((distance.exp() - distance - 1) * shares).sum()
        return total

    return loss


@torch.no_grad()
def logprobs_of(model: GPT, batch: Batch, rows: int) -> Tensor:
    """(B, T) float32 log-probabilities of the targets on the CPU, 0 where nothing counts; `rows` at a time."""
    found = [
        -model(part.ids.to(model.device), part.targets.to(model.device), reduction="none").float().cpu()
        for part in batch.parts(rows)
    ]
    return torch.cat(found)
