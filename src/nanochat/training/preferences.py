"""Direct preference optimisation (DPO, arXiv 2305.18290): the better of two answers is to become the likelier one.

The loss of a pair is -log sigmoid(beta * margin). Its margin is how much likelier the model makes the better answer
than the worse one, in nats, less what the starting model makes of the same pair: that is computed once, before the
first step. That alone is also lowered by making both answers unlikelier, the worse one more so; so the better answer's
own cross-entropy, a mean over its tokens, is added with a weight (arXiv 2404.19733). A step's loss is the mean over its
pairs, so neither rows at a time nor processes change it.

A pair is one row for the loop: both answers with their question, padded to one length, and its number behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.tasks.pairs import Pair
from nanochat.tokenizer.render import render, render_for_completion
from nanochat.tokenizer.special import USER_START
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.batches import EVERYTHING, Batch, Share

LEAST_ANSWER = 4  # a row of so many parts gives at least one to the question
ROUND_TO = 32  # tokens: lengths of a row that differ by less would only cost another compilation


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """Two rows of ids that begin with the same `prompt` tokens."""

    chosen: np.ndarray
    rejected: np.ndarray
    prompt: int


@dataclass(frozen=True, slots=True)
class PairBatch(Batch):
    """Pairs: ids are (B, 2T + 1), targets (B, 2T). What counts are pairs, not targets."""

    @property
    def supervised(self) -> int:
        """How many pairs the step has, in all processes."""
        return len(self.ids) + self.elsewhere


def render_pair(tokenizer: Tokenizer, pair: Pair, row_len: int) -> tuple[RenderedPair | None, bool]:
    """A pair within rows of T+1 ids, and whether anything of it had to be cut.

    Of what is too long the question loses its beginning first, as far as a quarter of the row; then the answers lose
    their ends. None where that leaves them the same.
    """
    prompt = render_for_completion(tokenizer, pair.chosen)
    answers = [render(tokenizer, each)[0][len(prompt) :] for each in (pair.chosen, pair.rejected)]
    room = max(row_len // LEAST_ANSWER, row_len - max(map(len, answers)))
    cut = len(prompt) > room
    if cut:
        prompt = [tokenizer.bos, tokenizer.special(USER_START), *prompt[len(prompt) - room + 2 :]]
    chosen, rejected = (answer[: row_len - len(prompt)] for answer in answers)
    cut = cut or len(chosen) < len(answers[0]) or len(rejected) < len(answers[1])
    if chosen == rejected:
        return None, cut
    first, second = (np.array([*prompt, *answer], np.int32) for answer in (chosen, rejected))
    return RenderedPair(first, second, len(prompt)), cut


def common_length(pairs: Sequence[RenderedPair], longest: int) -> int:
    """T that holds every one of these pairs, no longer than `longest`."""
    needed = max((len(row) - 1 for pair in pairs for row in (pair.chosen, pair.rejected)), default=1)
    return min(longest, -(-needed // ROUND_TO) * ROUND_TO)


def pair_batch(
    pairs: Sequence[RenderedPair], numbers: Sequence[int], length: int, pad: int, elsewhere: int = 0
) -> PairBatch:
    """Some of the pairs as rows for the loop.

    Args:
        pairs: all of them.
        numbers: which are wanted.
        length: T.
        pad: the id that rows are filled up with.
        elsewhere: how many more pairs of the step other processes have.
    """
    ids = np.full((len(numbers), 2, length + 1), pad, np.int64)
    counts = np.zeros((len(numbers), 2, length + 1), bool)
    for at, number in enumerate(numbers):
        pair = pairs[number]
        for side, row in enumerate((pair.chosen, pair.rejected)):
            ids[at, side, : len(row)] = row
            counts[at, side, pair.prompt : len(row)] = True
    targets = np.where(counts, ids, -1)[:, :, 1:]
    rows = ids[:, :, :-1].reshape(len(numbers), -1)
    joined = np.concatenate([rows, np.array(numbers, np.int64).reshape(-1, 1)], axis=1)
    return PairBatch(
        torch.from_numpy(joined),
        torch.from_numpy(np.ascontiguousarray(targets).reshape(len(numbers), -1)),
        tuple(sorted(set(numbers))),
        elsewhere,
    )


@dataclass(frozen=True, slots=True)
class PairPlace:
    """How many pairs have been given out."""

    next: int

    def state(self) -> dict[str, Any]:
        """As JSON values."""
        return {"next": self.next}


class PairPacker:
    """The pairs of one step after the other, in another order in every epoch.

    Args:
        pairs: all that are trained on.
        length: T.
        pad: see `pair_batch`.
        seed: of the orders.
        state: where to go on, from `snapshot().state()`.
        share: which pairs of a step this process trains on.
    """

    def __init__(
        self,
        pairs: Sequence[RenderedPair],
        length: int,
        *,
        pad: int,
        seed: int,
        state: dict[str, Any] | None = None,
        share: Share = EVERYTHING,
    ) -> None:
        self._pairs = pairs
        self._length = length
        self._pad = pad
        self._seed = seed
        self._share = share
        self._next = int(state["next"]) if state else 0
        self._epoch = -1
        self._order = np.arange(0)

    def step(self, rows: int) -> PairBatch:
        """Of the next `rows` pairs those of this process's share."""
        numbers = [self._number(self._next + at) for at in range(rows)]
        self._next += rows
        mine = self._share.of(rows)
        return pair_batch(
            self._pairs, numbers[mine.start : mine.stop], self._length, self._pad, elsewhere=rows - len(mine)
        )

    def snapshot(self) -> PairPlace:
        """How far it has come."""
        return PairPlace(self._next)

    def _number(self, at: int) -> int:
        epoch, place = divmod(at, len(self._pairs))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self._seed, epoch]).permutation(len(self._pairs))
        return int(self._order[place])


def answer_logprobs(model: nn.Module, *, use_compile: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of ids and targets (N, T): log-probabilities of what counts in each row, added up, (N,) in nats."""

    def logprobs(ids: Tensor, targets: Tensor) -> Tensor:
        losses: Tensor = model(ids, targets, reduction="none")
        return -losses.sum(dim=-1)

    return torch.compile(logprobs, dynamic=False) if use_compile else logprobs


def pair_logprobs(logprobs: Callable[[Tensor, Tensor], Tensor], ids: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Of each pair, in nats: how much likelier the better answer is than the worse one (B,), and the better answer's
    log-probability as a mean over its tokens (B,).

    Args:
        logprobs: from `answer_logprobs`.
        ids: (B, 2T + 1), as in `PairBatch`.
        targets: (B, 2T).
    """
    half = targets.size(1) // 2
    chosen, rejected = logprobs(ids[:, :-1].reshape(-1, half), targets.reshape(-1, half)).view(-1, 2).unbind(1)
    return chosen - rejected, chosen / (targets[:, :half] >= 0).sum(dim=1)


def preference_loss(margins: Tensor, beta: float) -> Tensor:
    """-log sigmoid(beta * margin) of each pair."""
    return F.softplus(-beta * margins)
