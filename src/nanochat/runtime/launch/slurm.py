"""What SLURM says to a task of a step: which it is, of how many, and where the first machine is.

Only the variables of the step count. SLURM_NTASKS and its like also stand in the body of a batch script, where one
process runs whatever the job has asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nanochat.errors import UsageError

PORTS = range(10_000, 30_000)  # below those that Linux hands out by itself (from 32,768)
STEPS_APART = 101  # so that steps of one job, and of neighbouring jobs, meet at ports of their own


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmTask:
    """One of several tasks of a job step.

    Attributes:
        task: number of this task, 0 to tasks - 1.
        tasks: how many there are.
        local_task: number of this task on its machine.
        local_tasks: how many there are on its machine.
        node: number of the machine, 0 to nodes - 1.
        nodes: how many machines there are.
        host: name of the first machine.
        port: where the processes can meet on it.
    """

    task: int
    tasks: int
    local_task: int
    local_tasks: int
    node: int
    nodes: int
    host: str
    port: int

    def as_rank(self) -> dict[str, str]:
        """The variables by which torch's processes find each other, each task being one of them."""
        return {
            "RANK": str(self.task),
            "WORLD_SIZE": str(self.tasks),
            "LOCAL_RANK": str(self.local_task),
            "LOCAL_WORLD_SIZE": str(self.local_tasks),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
        }


def slurm_task(environ: Mapping[str, str]) -> SlurmTask | None:
    """The task this process is, or None outside of a step and where it is the only one.

    Raises:
        UsageError: a variable is not what SLURM writes.
    """
    if "SLURM_PROCID" not in environ or int(environ.get("SLURM_STEP_NUM_TASKS") or 1) < 2:
        return None
    try:
        node = int(environ.get("SLURM_NODEID") or 0)
        tasks = int(environ["SLURM_STEP_NUM_TASKS"])
        nodes = int(environ.get("SLURM_STEP_NUM_NODES") or environ.get("SLURM_NNODES") or 1)
        per_node = tasks_per_node(environ.get("SLURM_STEP_TASKS_PER_NODE") or f"{tasks // nodes}(x{nodes})")
        job, step = int(environ.get("SLURM_JOB_ID") or 0), int(environ.get("SLURM_STEP_ID") or 0)
        return SlurmTask(
            task=int(environ["SLURM_PROCID"]),
            tasks=tasks,
            local_task=int(environ.get("SLURM_LOCALID") or 0),
            local_tasks=per_node[node],
            node=node,
            nodes=nodes,
            host=first_host(environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or "localhost"),
            port=PORTS[(job + STEPS_APART * step) % len(PORTS)],
        )
    except (ValueError, IndexError) as error:
        raise UsageError(
            f"the SLURM variables of this task make no sense: {error}",
            "see them with: srun env | grep SLURM; or say it yourself in RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT",
        ) from error


def tasks_per_node(text: str) -> list[int]:
    """Tasks of each machine, in order: `4(x2),3` is 4, 4, 3.

    Raises:
        ValueError: another form.
    """
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(f"{part!r} is no number of tasks")
        counts += [int(match[1])] * int(match[2] or 1)
    return counts


def first_host(nodes: str) -> str:
    """The first name of a list of machines: `gpu[01-03,07],cpu1` begins with gpu01.

    The first of every pair of brackets stands for it, since the last brackets count fastest: `r[1-2]n[3-4]`
    begins with r1n3.
    """
    first = re.split(r",(?![^\[]*\])", nodes, maxsplit=1)[0]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)
