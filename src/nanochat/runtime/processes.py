"""The processes of one run: which of them this is, and what they agree on.

Whoever starts several (torchrun, SLURM, our own launcher) says in the environment which of them a process is, by
torch's own names: RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT. Numbers to agree on
travel by gloo, also beside GPUs; whole objects through the store that the processes found each other with, where
waiting has no limit, since the first process may be tokenizing for an hour. Left out: tensors of the model, see
`training.exchange`, and parting and noticing that a process is gone, see `runtime.launch`.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from nanochat.errors import NanochatError, UsageError
from nanochat.runtime.launch.worker import start_pulse

T = TypeVar("T")

COLLECTIVE_LIMIT = timedelta(minutes=30)
"""How long a collective call waits for the others: longer than anything one of them does alone between two."""
LOOK_EVERY_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Processes:
    """One of `world_size` processes that train together; by default the only one.

    Every method that communicates must be called by all of them, in the same order.

    Attributes:
        rank: 0 to world_size - 1; 0 is the one that writes and prints.
        world_size: how many there are.
        local_rank: number on this machine: of its GPU.
        local_world_size: how many there are on this machine.
        store: torch's store where they found each other; None where there is only one.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    store: Any = None
    _calls: count[int] = field(default_factory=count, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes, number by number, in float64."""
        if self.world_size == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        sums = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(sums)
        result: list[float] = sums.tolist()
        return result

    def any(self, flag: bool) -> bool:
        """Whether it is true anywhere."""
        return self.total([float(flag)])[0] > 0

    def least(self, value: float) -> float:
        """The smallest of all processes' values."""
        if self.world_size == 1:
            return value
        import torch
        import torch.distributed as dist

        smallest = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(smallest, dist.ReduceOp.MIN)
        return float(smallest)

    def first_does(self, work: Callable[[], T]) -> T:
        """What `work` returns in the first process; the others wait for it, however long it takes.

        The result must be picklable.

        Raises:
            NanochatError: what `work` raised there, everywhere.
        """
        if self.world_size == 1:
            return work()
        key = f"nanochat/first/{next(self._calls)}"
        if self.first:
            try:
                result = work()
            except NanochatError as error:
                self.store.set(key, pickle.dumps((False, (type(error), error.message, error.hint))))
                raise
            self.store.set(key, pickle.dumps((True, result)))
            return result
        while not self.store.check([key]):
            time.sleep(LOOK_EVERY_S)
        done, value = pickle.loads(self.store.get(key))
        if not done:
            kind, message, hint = value
            raise kind(message, hint)
        told: T = value
        return told

    def agree(self, value: T) -> T:
        """The first process's value."""
        return self.first_does(lambda: value)


ALONE = Processes()


def is_worker(environ: Mapping[str, str]) -> bool:
    """Whether this process is one of several, by what the environment says."""
    return int(environ.get("WORLD_SIZE") or 1) > 1 and "RANK" in environ


def is_first(environ: Mapping[str, str]) -> bool:
    """Whether this process is the one that prints, by what the environment says."""
    return not is_worker(environ) or environ["RANK"] == "0"


def join(environ: Mapping[str, str], device: str) -> Processes:
    """Meet the other processes of this run; `ALONE` when the environment speaks of none.

    Args:
        environ: see the module.
        device: cpu or cuda; a GPU is chosen by local rank.

    Raises:
        UsageError: more processes on this machine than GPUs, or a device that several processes cannot share.
    """
    if not is_worker(environ):
        return ALONE
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    rank, world_size = int(environ["RANK"]), int(environ["WORLD_SIZE"])
    local_rank = int(environ.get("LOCAL_RANK") or 0)
    local_world_size = int(environ.get("LOCAL_WORLD_SIZE") or 1)
    if device == "mps":
        raise UsageError("several processes cannot train on mps", "take --nproc 1, or --device cpu")
    if device == "cuda":
        gpus = torch.cuda.device_count()
        if gpus == 1:  # each process is shown its own GPU alone, as by srun --gpus-per-task
            local_rank = 0
        if local_rank >= gpus:
            raise UsageError(f"process {local_rank} of this machine has no GPU: there are {gpus}", f"--nproc {gpus}")
        torch.cuda.set_device(local_rank)
    found: tuple[Any, int, int] = next(iter(rendezvous("env://", rank, world_size)))
    store = found[0]
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo",
        store=PrefixStore("torch", store),
        rank=rank,
        world_size=world_size,
        timeout=COLLECTIVE_LIMIT,
    )
    start_pulse(store, rank, world_size, environ)
    return Processes(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        local_world_size=local_world_size,
        store=store,
    )
