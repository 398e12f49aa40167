"""The loss of pairs of answers for the training loop, and the figures that are told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nanochat.model.gpt import GPT
from nanochat.runtime.processes import Processes
from nanochat.runtime.stop import CutShort, StopRequest
from nanochat.training.device_batch import DeviceBatch
from nanochat.training.loop import to_device
from nanochat.training.preferences import PairBatch, answer_logprobs, pair_logprobs, preference_loss


@dataclass(kw_only=True, slots=True)
class PreferenceObjective:
    """The loss of pairs, and what is told of them; a `stages.objective.Objective`.

    Attributes:
        model: the one that is trained.
        logprobs: of the answers, as it makes them.
        reference: log ratio of every pair by number, as the starting model makes them, (N,) on the device.
        held_out: pairs to validate on, the same in every process.
        beta: of the loss.
        chosen_weight: of the better answer's own cross-entropy in the loss.
        device: where it computes.
        processes: those that train together.
        metric: see `Objective`.
    """

    model: GPT
    logprobs: Callable[[Tensor, Tensor], Tensor]
    reference: Tensor
    held_out: Sequence[PairBatch]
    beta: float
    chosen_weight: float
    device: str
    processes: Processes
    metric: str = "val_loss"
    _trained: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._forget()

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Of the pairs of some rows, added up."""
        margins, chosen = self._compared(self.logprobs, ids, targets)
        found = margins.detach()
        # added up, for a small tensor kept of every step would keep the memory around it in pieces
        self._trained += torch.stack([(found > 0).sum(), found.sum(), torch.full_like(found, 1).sum()])
        return (preference_loss(margins, self.beta) - self.chosen_weight * chosen).sum()

    def validate(self, stop: StopRequest, device_batch: DeviceBatch) -> Mapping[str, float]:
        """On held-out pairs the loss of the preference, accuracy and margin of rewards, the last two also of the steps
        since the last time; and the cross-entropy of the better answers, in nats per token.

        A reward is beta times how much likelier an answer has become, in nats.
        """
        right, margins, count = self.processes.total(self._trained.tolist())
        self._forget()
        try:
            cut, held_out = False, device_batch.attempt(lambda rows: self._held_out(stop, rows))
        except CutShort:
            cut, held_out = True, [0.0] * 2 * sum(len(batch.ids) for batch in self.held_out)
        anywhere, *values = self.processes.total([float(cut), *held_out])
        if anywhere:
            raise CutShort
        found, chosen = torch.tensor(values, dtype=torch.float64).view(-1, 2).unbind(1)
        figures = {
            self.metric: float(preference_loss(found, self.beta).mean()),
            "reward_accuracy": float((found > 0).double().mean()),
            "reward_margin": self.beta * float(found.mean()),
            "chosen_loss": -float(chosen.mean()),
        }
        if count:
            figures["train_reward_accuracy"] = right / count
            figures["train_reward_margin"] = self.beta * margins / count
        return figures

    def _forget(self) -> None:
        """Begin to add up anew: how many pairs are right, their margins, and how many there are."""
        exact = torch.float32 if self.device == "mps" else torch.float64  # the other is not there
        self._trained = torch.zeros(3, dtype=exact, device=self.device)

    def _compared(
        self, logprobs: Callable[[Tensor, Tensor], Tensor], ids: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Margins, and log-probabilities of a token of the better answers."""
        ratios, chosen = pair_logprobs(logprobs, ids, targets)
        return ratios - self.reference[ids[:, -1]], chosen

    @torch.no_grad()
    def _held_out(self, stop: StopRequest, rows: int) -> list[float]:
        """Two figures of every held-out pair, see `_compared`; 0 for those that are the others' to measure."""
        values: list[float] = []
        logprobs = answer_logprobs(self.model)
        for number, batch in enumerate(self.held_out):
            if number % self.processes.world_size != self.processes.rank:
                values += [0.0] * 2 * len(batch.ids)
                continue
            for part in stop.until(batch.parts(rows)):
                ids, targets = (to_device(rows, self.device) for rows in (part.ids, part.targets))
                values += torch.stack(self._compared(logprobs, ids, targets), dim=1).flatten().tolist()
        return values
