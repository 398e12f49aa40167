"""The validation of a training stage: bits per byte of the same rows every time, shared out among the processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from nanochat.evaluation.bpb import Tally, tallies
from nanochat.model.gpt import GPT
from nanochat.runtime.processes import Processes
from nanochat.runtime.stop import CutShort, StopRequest
from nanochat.training.batches import Batch
from nanochat.training.device_batch import DeviceBatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """What is measured, and how.

    Attributes:
        model: the one that is trained.
        batches: all rows, the same in every process.
        token_bytes: bytes of each token by id; 0 for special tokens.
        device_batch: rows at a time.
        stop: cuts it short.
        processes: each measures some of the batches.
    """

    model: GPT
    batches: Sequence[Batch]
    token_bytes: Sequence[int]
    device_batch: DeviceBatch
    stop: StopRequest
    processes: Processes

    def bits_per_byte(self) -> float:
        """The value, the same in every process and for any number of them.

        Raises:
            CutShort: a stop was asked for before some process was done.
        """
        try:
            cut, numbers = False, self.device_batch.attempt(self._own)
        except CutShort:
            cut, numbers = True, [0.0] * (2 * len(self.batches))
        anywhere, *numbers = self.processes.total([float(cut), *numbers])
        if anywhere:
            raise CutShort
        # added in the order of the batches, whoever has measured them
        return Tally(math.fsum(numbers[::2]), int(sum(numbers[1::2]))).bits_per_byte

    def _own(self, rows: int) -> list[float]:
        """Nats and bytes of each batch, one after the other; zeros for those that are the others' to measure."""
        numbers = [0.0] * (2 * len(self.batches))
        for number in range(self.processes.rank, len(self.batches), self.processes.world_size):
            tally = sum(tallies(self.model, self._parts(self.batches[number], rows), self.token_bytes), Tally())
            numbers[2 * number : 2 * number + 2] = tally.nats, float(tally.bytes)
        return numbers

    def _parts(self, batch: Batch, rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((part.ids, part.targets) for part in self.stop.until(batch.parts(rows)))
