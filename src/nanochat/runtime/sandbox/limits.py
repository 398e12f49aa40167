"""What a program may use."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.errors import UsageError

MIB = 1 << 20
LEAST_MEMORY_BYTES = 64 * MIB
"""Less than this and the interpreter itself does not fit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Bounds of one run.

    Attributes:
        wall_s: seconds from the program's first statement to the end of its check.
        memory_bytes: of address space for each process, the interpreter's own included, and of memory for all together.
        output_bytes: of stdout and stderr together.
        processes: processes and threads at the same time, the first included.
        disk_bytes: all that it may write to files.

    Raises:
        UsageError: a bound with which nothing could run.
    """

    wall_s: float = 5.0
    memory_bytes: int = 256 * MIB
    output_bytes: int = 64 * 1024
    processes: int = 16
    disk_bytes: int = 16 * MIB

    def __post_init__(self) -> None:
        least = {
            "wall_s": 0.01,
            "memory_bytes": LEAST_MEMORY_BYTES,
            "output_bytes": 1,
            "processes": 1,
            "disk_bytes": 4096,
        }
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UsageError(f"{name} ({getattr(self, name)}) of a sandbox is below {value}", f"raise {name}")
