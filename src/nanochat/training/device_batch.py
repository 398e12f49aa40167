"""How many rows go through the model at a time: as asked for, or as many as fit.

The update is normalised by the targets of the whole step, so rows per micro-step change memory and speed and, but
for rounding, nothing else. A batch that must come out the same whatever fits has to be cut into equal parts, so only
divisors of the rows of a step are tried.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from nanochat.config.model import ModelConfig
from nanochat.errors import OutOfMemoryError
from nanochat.runtime.memory import give_back_cached, is_out_of_memory

T = TypeVar("T")

# On a CPU tokens per second grow little by now (d4 at T 256: 5% from 2,048 to 4,096 tokens), while memory grows with
# them, and with it what falls out of the processor's cache.
CPU_TOKENS = 4096
SHARE_OF_FREE = 0.7  # of the free memory; the rest is for momenta and what the allocator loses in pieces


def activation_bytes(config: ModelConfig) -> int:
    """A rough size of what one row leaves for the backward pass: 60 bytes a channel and layer, and its logits."""
    return config.sequence_len * (config.n_layer * config.n_embd * 60 + 12 * config.padded_vocab)


def divisor_at_most(number: int, limit: float) -> int:
    """The largest divisor of `number` that is no larger than `limit`, at least 1."""
    return next((n for n in range(int(min(number, limit)), 0, -1) if number % n == 0), 1)


def first_guess(config: ModelConfig, step_rows: int, device: str, free: int) -> int:
    """Rows to begin with when they are to be chosen.

    A GPU is given twice what the estimate says fits: running out of memory there is an error that can be caught. On a
    CPU it would end the process, so the estimate is kept to, and more than some thousand tokens do not pay anyway.

    Args:
        config: the model.
        step_rows: rows of a step, of this process.
        device: where it computes.
        free: memory in bytes.
    """
    fitting = SHARE_OF_FREE * free / activation_bytes(config)
    if device == "cuda":
        return divisor_at_most(step_rows, 2 * fitting)
    return divisor_at_most(step_rows, max(1.0, min(fitting, CPU_TOKENS / config.sequence_len)))


@dataclass(slots=True)
class DeviceBatch:
    """Rows per micro-step; may shrink during a run when they were not asked for.

    Attributes:
        rows: at present.
        step_rows: rows of a step; `rows` divides them.
        automatic: whether running out of memory lowers `rows`, or ends the run.
        device: whose memory it is.
        on_lower: told the new number of rows.
    """

    rows: int
    step_rows: int
    automatic: bool = False
    device: str = "cpu"
    on_lower: Callable[[int], None] = lambda rows: None

    def attempt(self, work: Callable[[int], T]) -> T:
        """`work(rows)`, again with half the rows or fewer as often as memory ends.

        Raises:
            OutOfMemoryError: it ended with the rows that were asked for, or with a single one.
        """
        while True:
            try:
                return work(self.rows)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self._lower(error)
            give_back_cached(self.device)  # out here the error is forgotten, and with it the tensors of its frames

    def _lower(self, error: BaseException) -> None:
        said = " ".join(str(error).split("\n")[0].split()) or "no memory is left"
        lower = divisor_at_most(self.step_rows, self.rows / 2)
        if self.rows == 1:
            raise OutOfMemoryError(
                f"out of memory with a single row at a time: {said}", "lower --sequence-len or --depth"
            ) from None
        if not self.automatic:
            raise OutOfMemoryError(
                f"out of memory with {self.rows} rows at a time: {said}",
                f"lower --device-batch-size: try --device-batch-size {lower}, or auto",
            ) from None
        self.rows = lower
        self.on_lower(lower)
