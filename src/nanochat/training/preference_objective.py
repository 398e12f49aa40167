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
from nanochat.training.preferences import PairBatch, answer_logprobs, log_ratios, preference_loss


@dataclass(kw_only=True, slots=True)
class PreferenceObjective:
    """The loss of pairs, and what is told of them; a `stages.objective.Objective`.

    Attributes:
        model: the one that is trained.
        logprobs: of the answers, as it makes them.
        reference: log ratio of every pair by number, as the starting model makes them, (N,) on the device.
        held_out: pairs to validate on, the same in every process.
        beta: of the loss.
        device: where it computes.
        processes: those that train together.
        metric: see `Objective`.
    """

    model: GPT
    logprobs: Callable[[Tensor, Tensor], Tensor]
    reference: Tensor
    held_out: Sequence[PairBatch]
    beta: float
    device: str
    processes: Processes
    metric: str = "val_loss"
    _margins: list[Tensor] = field(default_factory=list)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Of the pairs of some rows, added up."""
        margins = self._margins_of(ids, targets)
        self._margins.append(margins.detach())
        return preference_loss(margins, self.beta).sum()

    def validate(self, stop: StopRequest, device_batch: DeviceBatch) -> Mapping[str, float]:
        """Loss, accuracy and margin of rewards on held-out pairs; the last two also of the steps since the last time.

        A reward is beta times how much likelier an answer has become, in nats.
        """
        own = torch.cat([*self._margins, torch.zeros(0, device=self.device)]).double()
        self._margins.clear()
        right, margins, count = self.processes.total([float((own > 0).sum()), float(own.sum()), float(len(own))])
        try:
            cut, held_out = False, device_batch.attempt(lambda rows: self._held_out(stop, rows))
        except CutShort:
            cut, held_out = True, [0.0] * sum(len(batch.ids) for batch in self.held_out)
        anywhere, *values = self.processes.total([float(cut), *held_out])
        if anywhere:
            raise CutShort
        found = torch.tensor(values, dtype=torch.float64)
        figures = {
            self.metric: float(preference_loss(found, self.beta).mean()),
            "reward_accuracy": float((found > 0).double().mean()),
            "reward_margin": self.beta * float(found.mean()),
        }
        if count:
            figures["train_reward_accuracy"] = right / count
            figures["train_reward_margin"] = self.beta * margins / count
        return figures

    def _margins_of(self, ids: Tensor, targets: Tensor) -> Tensor:
        return log_ratios(self.logprobs, ids, targets) - self.reference[ids[:, -1]]

    @torch.no_grad()
    def _held_out(self, stop: StopRequest, rows: int) -> list[float]:
        """The margin of every held-out pair; 0 for those that are the others' to measure."""
        values: list[float] = []
        logprobs = answer_logprobs(self.model)
        for number, batch in enumerate(self.held_out):
            if number % self.processes.world_size != self.processes.rank:
                values += [0.0] * len(batch.ids)
                continue
            for part in stop.until(batch.parts(rows)):
                ids, targets = (to_device(rows, self.device) for rows in (part.ids, part.targets))
                values += (log_ratios(logprobs, ids, targets) - self.reference[ids[:, -1]]).tolist()
        return values
