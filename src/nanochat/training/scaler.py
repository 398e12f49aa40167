"""Loss scaling, without which most gradients of a float16 model are too small for float16 (arXiv 1710.03740).

The loss is multiplied by a large factor before the backward pass and the gradients divided by it after, in float32.
When they overflow, the step is left out and the factor halved; after many steps without, it is doubled.
`torch.amp.GradScaler` does the same for torch's own optimizers, of which ours is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH_INTERVAL = 1000  # steps without an overflow after which a larger factor is tried
LARGEST = 2.0**24


@dataclass(kw_only=True, slots=True)
class LossScaler:
    """The factor, and the steps since it last changed; both belong to a checkpoint."""

    scale: float = 2.0**16
    good_steps: int = 0

    def unscale(self, params: Iterable[Tensor], anywhere: Callable[[bool], bool] = bool) -> bool:
        """Divide all gradients by the factor and choose the next one.

        Args:
            params: with gradients.
            anywhere: whether a thing is true in any of the processes that train together.

        Returns:
            Whether all gradients are finite; otherwise the step must be left out.
        """
        grads = [param.grad for param in params if param.grad is not None]
        sums = [grad.sum(dtype=torch.float32) for grad in grads]  # one that is not finite makes its sum so
        if anywhere(bool(sums) and not bool(torch.stack(sums).isfinite().all())):
            self.scale, self.good_steps = self.scale / 2, 0
            return False
        torch._foreach_mul_(grads, 1 / self.scale)
        self.good_steps += 1
        if self.good_steps >= GROWTH_INTERVAL:
            self.scale, self.good_steps = min(LARGEST, self.scale * 2), 0
        return True

    @property
    def exhausted(self) -> bool:
        """Whether the factor has shrunk to where gradients would overflow without one."""
        return self.scale < 1
