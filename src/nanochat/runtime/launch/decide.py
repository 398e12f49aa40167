"""Whether a command runs in this process or in several that torchrun starts: the decision, free of torch.

`decide` is a function of what was asked for, of the environment and of the number of GPUs. Whoever is already one of
several stays what it is, be it by torchrun or by SLURM. Else a command is started again, word by word, once for each
GPU. `supervise` does the starting, `worker` is the other end, in each process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nanochat.errors import UsageError
from nanochat.runtime.launch.slurm import slurm_task

DEFAULT_PORT = 29_500  # torch's own


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a person says about processes.

    Attributes:
        nproc: processes on this machine; None is one for each GPU.
        nnodes: machines.
        node_rank: number of this machine, 0 to nnodes - 1.
        endpoint: HOST or HOST:PORT of machine 0, where all meet.
    """

    nproc: int | None = None
    nnodes: int | None = None
    node_rank: int | None = None
    endpoint: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """Run in this process; `environ` says which of several it is, where it did not say so already."""

    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Torchrun:
    """Start `nproc` processes on this machine, which is `node_rank` of `nnodes`."""

    nproc: int
    nnodes: int = 1
    node_rank: int = 0
    endpoint: str = ""

    def command(self, words: Sequence[str]) -> list[str]:
        """The command line that runs `nanochat` with these words in every process."""
        where = ["--standalone"]
        if self.nnodes > 1:
            where = ["--nnodes", str(self.nnodes), "--node-rank", str(self.node_rank)]
            where += ["--rdzv-backend", "static", "--rdzv-endpoint", self.endpoint]
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(self.nproc), *where]
        # "--", or its parser stumbles over a --nproc among the words, which could begin an option of its own
        return [*torchrun, "--max-restarts", "0", "-m", "--", "nanochat", *words]


def decide(asked: Asked, environ: Mapping[str, str], device: str, count_gpus: Callable[[], int]) -> Here | Torchrun:
    """Where a command runs.

    Args:
        asked: the options.
        environ: of this process.
        device: auto, cpu, cuda or mps.
        count_gpus: how many GPUs this process can see; called only when it matters.

    Raises:
        UsageError: options that contradict each other, the environment or the machine.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        local = int(environ.get("LOCAL_WORLD_SIZE") or environ["WORLD_SIZE"])
        if asked.nproc not in (None, local):
            raise UsageError(
                f"--nproc {asked.nproc} contradicts the environment: this is one of {local} processes here already",
                "leave --nproc out, or unset RANK and WORLD_SIZE",
            )
        return Here()
    if asked.nnodes is not None and asked.nnodes > 1:
        return _node(asked, device, count_gpus)
    for name, value in (("--node-rank", asked.node_rank), ("--rdzv-endpoint", asked.endpoint)):
        if value is not None and asked.nnodes is None:
            raise UsageError(f"{name} is for several machines", "say how many there are with --nnodes")
    task = slurm_task(environ)
    if task is not None:
        if task.tasks > task.nodes or asked.nproc == 1:
            return Here(environ={name: value for name, value in task.as_rank().items() if name not in environ})
        return Torchrun(
            nproc=_processes(asked, device, count_gpus),
            nnodes=task.nodes,
            node_rank=task.node,
            endpoint=f"{task.host}:{task.port}",
        )
    nproc = _processes(asked, device, count_gpus)
    return Torchrun(nproc=nproc) if nproc > 1 else Here()


def _node(asked: Asked, device: str, count_gpus: Callable[[], int]) -> Torchrun:
    """The processes of one of several machines, which a person has numbered."""
    nnodes = asked.nnodes or 1
    if asked.endpoint is None or asked.node_rank is None:
        lacking = "--rdzv-endpoint" if asked.endpoint is None else "--node-rank"
        raise UsageError(
            f"--nnodes {nnodes} needs {lacking}",
            f"on machine 0: --nnodes {nnodes} --node-rank 0 --rdzv-endpoint HOST_OF_MACHINE_0:{DEFAULT_PORT}; "
            "on the others the same with --node-rank 1, 2, ...",
        )
    if not 0 <= asked.node_rank < nnodes:
        raise UsageError(
            f"--node-rank {asked.node_rank} is not one of {nnodes} machines", f"they are 0 to {nnodes - 1}"
        )
    host, _, port = asked.endpoint.rpartition(":") if ":" in asked.endpoint else (asked.endpoint, "", str(DEFAULT_PORT))
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(f"--rdzv-endpoint {asked.endpoint!r} is not HOST:PORT", f"such as gpu01:{DEFAULT_PORT}")
    return Torchrun(
        nproc=_processes(asked, device, count_gpus), nnodes=nnodes, node_rank=asked.node_rank, endpoint=f"{host}:{port}"
    )


def _processes(asked: Asked, device: str, count_gpus: Callable[[], int]) -> int:
    """Processes of this machine: as many as asked for, else one for each GPU, else one."""
    if asked.nproc == 1:
        return 1
    if device == "mps" and asked.nproc:
        raise UsageError("several processes cannot compute on mps", "take --nproc 1, or --device cpu")
    gpus = count_gpus() if device in ("auto", "cuda") else 0
    if asked.nproc is None:
        return max(1, gpus)
    if device == "cuda" and not gpus:
        raise UsageError("device 'cuda' is not available here", "try --device cpu")
    if gpus and asked.nproc > gpus:
        raise UsageError(
            f"--nproc {asked.nproc}: each process needs a GPU of its own, and {gpus} can be seen here",
            f"--nproc {gpus}, or --device cpu",
        )
    return asked.nproc
