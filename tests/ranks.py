"""A command `probe` for tests of several processes: it joins, adds numbers up in a loop, and does what it is told.

    python ranks.py probe WHAT FOLDER          in each of several processes that torchrun or a test has started

Each rank tells its process number in FOLDER once all of them have met. They go on until a stop is asked for; rank 0
then takes a while to save. WHAT else may happen, see `act`.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
from pathlib import Path

import click

from nanochat import cli
from nanochat.errors import DivergedError, Interrupted
from nanochat.runtime.launch.decide import Torchrun
from nanochat.runtime.launch.worker import depart
from nanochat.runtime.processes import Processes, join

SAVE_S = 0.5


def command(nproc: int, *words: str) -> list[str]:
    """The command line that starts `nproc` ranks of this program under torchrun."""
    line = Torchrun(nproc=nproc).command(words)
    return [*line[: line.index("-m", 3)], __file__, "probe", *words]


@click.command()
@click.argument("what")
@click.argument("folder", type=click.Path(path_type=Path))
def probe(what: str, folder: Path) -> None:
    """Do what it is told."""
    from nanochat.runtime.stop import StopRequest

    processes = join(os.environ, "cpu")
    atexit.register(tell_left, folder / f"{processes.rank}.left")
    (folder / f"{processes.rank}.joined").write_text(str(os.getpid()))
    click.echo(f"rank {processes.rank} prints")
    click.echo(f"rank {processes.rank} tells", err=True)
    with StopRequest() as stop:
        for step in range(100_000):
            if processes.any(stop.requested):
                save(processes, folder)
                raise Interrupted(f"stopped at step {step}", "go on")
            if step == 3:
                act(what, processes)
            if step == 6 and what == "finish":
                break
            time.sleep(0.02)
    depart()
    click.echo("done")


def save(processes: Processes, folder: Path) -> None:
    """Only rank 0 has something to write, and it takes a while."""
    if processes.first:
        time.sleep(SAVE_S)
        (folder / "saved").write_text("whole")


def tell_left(path: Path) -> None:
    """Whether this process still belongs to a group at its end."""
    import torch.distributed as dist

    path.write_text("still there" if dist.is_initialized() else "left")


def act(what: str, processes: Processes) -> None:
    """What goes wrong in one of them."""
    if what == "error" and processes.rank == 1:
        atexit.register(time.sleep, 90)  # as NCCL may wait for the others, at the end of the process
        raise DivergedError("the losses are not numbers", "lower --matrix-lr")
    if what == "bug" and processes.rank == 1:
        raise ValueError("a bug")
    if what == "killed" and processes.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stopped" and processes.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "everywhere":
        processes.first_does(lambda: fail())


def fail() -> None:
    raise DivergedError("the data is missing", "nanochat data pocket")


def run() -> None:
    """Be the `nanochat` of one rank."""
    cli.COMMANDS["probe"] = ("ranks:probe", "Do what it is told.")
    cli.entry()


if __name__ == "__main__":
    sys.modules["ranks"] = sys.modules["__main__"]
    run()
