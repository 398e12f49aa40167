"""Gradients summed and shared out among processes, and what each made of its share brought together again.

Each process updates its share of every tensor and keeps the momenta of that share alone (ZeRO, arXiv 1910.02054, its
second stage). A tensor is shared out along its first dimension in equal parts, the last ones being padding where the
number does not divide. All calls start at once and are waited for later, so that they run beside computation; with one
process nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nanochat.runtime.processes import ALONE, Processes


@dataclass(frozen=True, slots=True)
class Coming:
    """A tensor that is on its way."""

    tensor: Tensor
    work: Any = None

    def wait(self) -> Tensor:
        """The tensor, complete."""
        if self.work is not None:
            self.work.wait()
        return self.tensor


class Exchange:
    """What the processes of a run do with one another's tensors.

    Args:
        processes: those that train together; all must make the same calls in the same order.
    """

    def __init__(self, processes: Processes = ALONE) -> None:
        self.rank = processes.rank
        self.world_size = processes.world_size

    def share(self, count: int, multiple: int = 1) -> int:
        """How many of `count` things a process has, padding included; a multiple of `multiple`."""
        each = -(-count // self.world_size)
        return each if self.world_size == 1 else -(-each // multiple) * multiple

    def mine(self, count: int, share: int) -> slice:
        """Which of `count` things, `share` to a process, are this one's."""
        return slice(min(count, self.rank * share), min(count, (self.rank + 1) * share))

    def padded(self, whole: Tensor, share: int) -> Tensor:
        """`whole` with zeros after it, so that its first dimension is `share` times the processes."""
        missing = share * self.world_size - len(whole)
        return torch.cat([whole, whole.new_zeros(missing, *whole.shape[1:])]) if missing else whole

    def scatter(self, whole: Tensor) -> Coming:
        """The sum over processes of this one's part of `whole`.

        Args:
            whole: (world_size * S, ...), contiguous.

        Returns:
            (S, ...), on its way.
        """
        if self.world_size == 1:
            return Coming(whole)
        import torch.distributed as dist

        part = whole.new_empty(len(whole) // self.world_size, *whole.shape[1:])
        return Coming(part, dist.reduce_scatter_tensor(part, whole, async_op=True))

    def sum(self, tensor: Tensor) -> Coming:
        """The sum over processes, in place."""
        if self.world_size == 1:
            return Coming(tensor)
        import torch.distributed as dist

        return Coming(tensor, dist.all_reduce(tensor, async_op=True))

    def gather(self, part: Tensor, whole: Tensor | None = None) -> Coming:
        """The parts of all processes, in order of rank.

        Args:
            part: (S, ...), contiguous, no view of `whole`.
            whole: (world_size * S, ...), contiguous, to gather into.

        Returns:
            (world_size * S, ...), on its way.
        """
        if self.world_size == 1:
            return Coming(part if whole is None else whole.copy_(part))
        import torch.distributed as dist

        if whole is None:
            whole = part.new_empty(len(part) * self.world_size, *part.shape[1:])
        return Coming(whole, dist.all_gather_into_tensor(whole, part, async_op=True))

    def collect(self, part: Tensor) -> Tensor | None:
        """The parts of all processes in the first one's memory, for saving; None in the others.

        Args:
            part: (S, ...), contiguous.

        Returns:
            (world_size * S, ...), on the CPU when there are several.
        """
        if self.world_size == 1:
            return part
        import torch.distributed as dist

        parts = [torch.empty_like(part) for _ in range(self.world_size)] if self.rank == 0 else None
        dist.gather(part, parts, dst=0)
        return torch.cat([each.cpu() for each in parts]) if parts else None
