"""Where a stage runs: everything about machine and process that is not a dial of the model."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.runtime.paths import Paths
from nanochat.runtime.processes import ALONE, Processes


@dataclass(frozen=True, kw_only=True, slots=True)
class RunContext:
    """Passed to every stage, so that importing a module reads no environment, device or argument.

    `device` is a torch device string, `dtype` the compute dtype's name (float32, bfloat16, float16), `compile` whether
    torch.compile may be used, `threads` the CPU threads torch was given. `open` names those of the three that nobody
    has asked for: a stage may measure and change them. `processes` are those that train together.
    """

    paths: Paths
    device: str = "cpu"
    dtype: str = "float32"
    compile: bool = False
    threads: int = 1
    open: frozenset[str] = frozenset()
    processes: Processes = ALONE

    @property
    def world_size(self) -> int:
        """How many processes train together."""
        return self.processes.world_size

    @property
    def threads_text(self) -> str:
        """`1 thread`, `2 threads`."""
        return "1 thread" if self.threads == 1 else f"{self.threads} threads"
