"""One process of several, from its side: where its output goes, and how it tells the way it ended.

Only rank 0 prints. Under our own launcher (`supervise`) torchrun has the launcher's standard error as its
standard input, and hands it down: rank 0 takes it for its own standard error, so that its live display reaches the
terminal and torchrun's reports do not; the other ranks write to files in the folder of the launch. Nobody prints an
error: each rank leaves a record in that folder and the launcher tells the first. Under another launcher the other
ranks are silent, and the first that fails tells it itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TextIO

from nanochat.runtime.launch.ending import GO_ON, SAVED, Ending, write_ending
from nanochat.runtime.launch.pulse import Pulse, patience

FOLDER_VARIABLE = "NANOCHAT_LAUNCH"
LAUNCHER_VARIABLE = "NANOCHAT_LAUNCHER"
NO_PULSE = 0  # time of a rank's file before the pulse begins and after it

_pulse: list[Pulse] = []  # that of this process, once it has one


def begin(environ: Mapping[str, str]) -> None:
    """Put this process's output where it belongs; before anything is printed."""
    rank, folder = int(environ["RANK"]), environ.get(FOLDER_VARIABLE)
    if not folder:
        if rank:
            nobody = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the process
            sys.stdout = sys.stderr = nobody  # not the descriptor: what a library says when it aborts stays visible
        return
    if rank == 0:
        os.dup2(0, 2)
    else:
        log = os.open(Path(folder) / f"rank{rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    here = Path(folder) / f"rank{rank}.tmp"
    here.write_text(str(os.getpid()), encoding="utf-8")
    os.utime(here, (NO_PULSE, NO_PULSE))
    here.replace(here.with_suffix(".pid"))


def _show(environ: Mapping[str, str], *, leaving: bool = False) -> None:
    """Let our launcher see by the time of a file that this process lives, or that it need not look any more."""
    if folder := environ.get(FOLDER_VARIABLE):
        with contextlib.suppress(OSError):  # the launcher has ended and taken its folder along
            os.utime(Path(folder) / f"rank{environ['RANK']}.pid", (NO_PULSE, NO_PULSE) if leaving else None)


def start_pulse(store: Any, rank: int, world_size: int, environ: Mapping[str, str]) -> None:
    """Give this process its pulse.

    Args:
        store: where the processes found each other.
        rank: of this one.
        world_size: how many there are.
        environ: says who started this process, and how patient to be.

    Raises:
        UsageError: the patience is not a number of seconds.
    """
    from torch.distributed.distributed_c10d import PrefixStore

    hosted = environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    pulse = Pulse(
        PrefixStore("pulse", store.clone()),
        rank,
        world_size,
        patience_s=patience(environ),
        end=lambda ending, tell: end_at_once(environ, ending, tell=tell),
        orphaned=_parents_gone(environ),
        show=lambda: _show(environ),
        host=f"torchrun on {environ.get('MASTER_ADDR')}" if hosted else "rank 0",
    )
    _pulse.append(pulse)
    pulse.start()


def depart() -> None:
    """Leave the other processes in order, where there are any; all of them do so together."""
    if not _pulse:
        return
    import torch.distributed as dist

    _pulse.pop().depart()
    _show(os.environ, leaving=True)
    dist.destroy_process_group()  # NCCL complains on the screen when it is left to the end of the process


def _parents_gone(environ: Mapping[str, str]) -> Callable[[], bool]:
    """A function that says whether torchrun, or our launcher that started it, is gone.

    Without torchrun nobody is missed: a shell may end before the processes it has started.
    """
    import psutil

    if "TORCHELASTIC_RUN_ID" not in environ:
        return lambda: False
    agent, launcher = os.getppid(), int(environ.get(LAUNCHER_VARIABLE) or 0)

    def gone() -> bool:
        if os.getppid() != agent:
            return True
        try:
            return launcher != 0 and psutil.Process(agent).ppid() != launcher
        except psutil.Error:
            return True

    return gone


def part(environ: Mapping[str, str], ending: Ending) -> int:
    """Part from the other processes, and tell how this one ended where it is this one's turn.

    One that fails among others that it has met ends here and now: in its own time torch would wait for collective
    calls, on a GPU for ever, that the others never join.

    Returns:
        The exit status of the process. Where we started it, 75 becomes 0: torchrun would kill the others, one of
        which may still save; our launcher finds the 75 in the record.
    """
    rank = int(environ["RANK"])
    ending = replace(ending, rank=rank)
    if ending.failed and _pulse:
        beats = _pulse.pop()
        ending, tell = beats.explain(ending) if ending.bereft else (ending, beats.accuse(ending))
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        end_at_once(environ, ending, tell=tell)
    if not ending.failed:
        depart()
    _tell(environ, ending, tell=ending.failed or rank == 0)
    return 0 if ending.exit_code == SAVED and environ.get(FOLDER_VARIABLE) else ending.exit_code


def end_at_once(environ: Mapping[str, str], ending: Ending, *, tell: bool) -> NoReturn:
    """End this process, from any thread, whatever its main thread or torch waits for."""
    try:
        _tell(environ, ending, tell=tell)
    finally:
        os._exit(ending.exit_code or 1)


def _tell(environ: Mapping[str, str], ending: Ending, *, tell: bool) -> None:
    if folder := environ.get(FOLDER_VARIABLE):
        write_ending(Path(folder), ending)
    elif tell:
        print_ending(ending, sys.__stderr__ or sys.stderr)


def print_ending(ending: Ending, stderr: TextIO) -> None:
    """Write the ending of a rank as a person reads it: two lines, or the traceback of a bug and whose it is."""
    if ending.trace:
        stderr.write(f"rank {ending.rank}:\n{ending.trace.rstrip()}\n")
    else:
        for label, line in (("error", ending.message), ("hint", ending.hint)):
            if line:
                stderr.write(f"{label}: {line}\n")
    stderr.flush()


def ending_of(error: Exception) -> Ending:
    """The ending of a process by an error that nobody has put into words: a bug, unless only a neighbour is gone."""
    trace = "".join(traceback.format_exception(error))
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "DistError" not in kinds and not (isinstance(error, RuntimeError) and "gloo/transport" in str(error)):
        return Ending(exit_code=1, message=f"{type(error).__name__}: {error}", trace=trace)
    said = re.sub(r"^\[\S*\] | This is typically.*$", "", str(error).partition("\n")[0]).rstrip(".")
    return Ending(
        exit_code=1,
        message=f"the connection to another process broke: {said}",
        hint=f"one of the others has ended, see what it said; {GO_ON}",
        bereft=True,
    )
