"""What a training stage minimises when it is not the cross-entropy of its targets, and how that is validated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from torch import Tensor

from nanochat.runtime.stop import StopRequest
from nanochat.training.device_batch import DeviceBatch


class Objective(Protocol):
    """What the loop of a stage calls in place of the model.

    Attributes:
        metric: name of the figure of `validate` that decides which checkpoint is best: the lowest.
        loss: (ids, targets) of some rows -> their loss, added up.
    """

    @property
    def metric(self) -> str:
        """See above."""
        ...

    @property
    def loss(self) -> Callable[..., Tensor]:
        """See above."""
        ...

    def validate(self, stop: StopRequest, device_batch: DeviceBatch) -> Mapping[str, float]:
        """Figures of what is held out, the same in every process.

        Raises:
            CutShort: a stop was asked for.
        """
        ...
