"""The dials of `nanochat slurm`: what a batch job asks the cluster for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from nanochat.config.fields import option
from nanochat.errors import UsageError

LONGEST_SIGNAL_S = 65_535
"""SLURM keeps the time between signal and end in 16 bits."""

_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
_OPTION = re.compile(r"[a-z][a-z0-9-]*(=.+)?")
_OWN = {
    "nodes": "--nodes",
    "gpus-per-node": "--gpus-per-node",
    "ntasks-per-node": "--tasks-per-node",
    "cpus-per-task": "--cpus-per-task",
    "time": "--time",
    "partition": "--partition",
    "account": "--account",
    "job-name": "--job-name",
    "output": "--log",
    "signal": "--save-before",
    "requeue": "--max-requeues",
    "no-requeue": "--max-requeues",
    "open-mode": "",
    "ntasks": "--tasks-per-node",
}


def time_limit_s(text: str) -> int | None:
    """Seconds of a time limit as SLURM writes it: `90` (minutes), `30:00`, `24:00:00`, `2-12`, `2-12:30:00`.

    Returns:
        None for `UNLIMITED`.

    Raises:
        ValueError: the text is none of these.
    """
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return None
    if not (found := _TIME.fullmatch(text)):
        raise ValueError(f"expected a time such as 90 (minutes), 24:00:00 or 2-12:00:00, found {text!r}")
    days, *rest = found.groups()
    parts = [int(part) for part in rest if part is not None]
    if days is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0, *(*parts, 0)[:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def _time(text: str) -> str:
    time_limit_s(text)
    return text


def _venv(text: str) -> str:
    return text if text == "auto" else str(Path(text).expanduser())


@dataclass(frozen=True, kw_only=True, slots=True)
class SlurmConfig:
    """A job: its machines, its time, and what stands around the command.

    Raises:
        UsageError: settings that no job can have.
    """

    nodes: int = option(1, "machines")
    gpus_per_node: int = option(8, "GPUs of each machine; 0 for a job without")
    gpu_type: str = option("", "kind of GPU, as the cluster names it, e.g. h100")
    tasks_per_node: int = option(0, "processes on each machine; 0 is one for each GPU, and one where there is none")
    cpus_per_task: int = option(8, "CPU cores of each process")
    time: str = option("24:00:00", "time limit, e.g. 90 (minutes), 24:00:00 or 2-00:00:00", parse=_time)
    save_before: int = option(120, "how long before the time limit a run saves and is queued again", unit="seconds")
    max_requeues: int = option(100, "how often at most it is queued again")
    partition: str = option("", "partition to queue in; empty is the cluster's own choice")
    account: str = option("", "account to charge; empty is your default")
    job_name: str = option("", "name of the job; empty makes one of the model's")
    log: str = option("%x-%j.log", "file of what is printed: %x is the job's name, %j its number")
    venv: str | None = option(
        "auto", "virtual environment to activate; auto is the one of this command, none for no such thing", parse=_venv
    )
    setup: str = option("", "lines of shell that come first, such as module load cuda", flag=False)
    sbatch: str = option("", "further options of sbatch, one a line, such as mem=0", flag=False)

    def __post_init__(self) -> None:
        for name, least in (
            *(("nodes", 1), ("gpus_per_node", 0), ("tasks_per_node", 0), ("cpus_per_task", 1)),
            *(("save_before", 1), ("max_requeues", 0)),
        ):
            if getattr(self, name) < least:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{name} ({getattr(self, name)}) must be at least {least}", f"try {flag} {least}")
        if 0 < self.gpus_per_node < self.tasks_per_node:
            raise UsageError(
                f"tasks_per_node ({self.tasks_per_node}) must not be above gpus_per_node ({self.gpus_per_node}): "
                "a process has a GPU of its own",
                "leave --tasks-per-node out",
            )
        limit = time_limit_s(self.time)
        if self.save_before > LONGEST_SIGNAL_S or (limit is not None and limit <= self.save_before):
            longest = LONGEST_SIGNAL_S if limit is None else min(LONGEST_SIGNAL_S, limit // 2)
            raise UsageError(
                f"save_before ({self.save_before} s) must be below the time limit ({self.time}) and {LONGEST_SIGNAL_S}",
                f"try --save-before {longest}" if longest else "try --time 24:00:00",
            )
        for name in ("gpu_type", "partition", "account", "job_name", "log"):
            if not str(getattr(self, name)).isprintable():
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{name} ({getattr(self, name)!r}) must be one line of text", f"write {flag} anew")
        for line in self.sbatch_options:
            _check_option(line)

    @property
    def tasks(self) -> int:
        """Processes on each machine."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def processes(self) -> int:
        """Processes of the run; a machine's only task starts one for each of its GPUs."""
        return self.nodes * (self.tasks if self.tasks > 1 else max(1, self.gpus_per_node))

    @property
    def gpus(self) -> str:
        """GPUs of each machine as sbatch takes them: `8` or `h100:8`."""
        return f"{self.gpu_type}:{self.gpus_per_node}" if self.gpu_type else str(self.gpus_per_node)

    @property
    def setup_lines(self) -> list[str]:
        """Lines of shell that come first."""
        return self.setup.splitlines()

    @property
    def sbatch_options(self) -> list[str]:
        """Further options of sbatch without their dashes: `mem=0`, `exclusive`."""
        return [line.strip().removeprefix("--") for line in self.sbatch.split("\n") if line.strip()]


def _check_option(text: str) -> None:
    if not (_OPTION.fullmatch(text) and text.isprintable()):
        raise UsageError(f"{text!r} is no option of sbatch", "write it as --sbatch mem=0 or --sbatch exclusive")
    key = text.partition("=")[0]
    if key in _OWN:
        way_out = f"use {_OWN[key]}" if _OWN[key] else "leave it out"
        raise UsageError(f"--sbatch {key} would change what the script relies on", way_out)
