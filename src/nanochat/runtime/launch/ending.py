"""How a process of a run ended, and which of several endings is the one to tell.

When one process fails the others fail after it, for a connection broke or they were told to stop. A person wants
the first. `judge` finds it; the rest is the record it goes by: a file for each rank in the folder of the launch.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

GO_ON = "the same command again goes on from the last checkpoint"
SAVED = 75
STOPPED = tuple(128 + int(number) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if (number := getattr(signal, name, 0)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """How a process ended.

    Attributes:
        exit_code: 0 when all went well.
        message: what happened, one line; may be empty.
        hint: what to do next, one line.
        trace: the traceback of a bug, empty for an expected error.
        bereft: whether it failed only because another process was gone.
        rank: of the process; None is torchrun itself.
        time: when, in seconds since 1970.
    """

    exit_code: int = 0
    message: str = ""
    hint: str = ""
    trace: str = ""
    bereft: bool = False
    rank: int | None = None
    time: float = field(default_factory=time.time)

    @property
    def failed(self) -> bool:
        """Whether it is neither done nor stopped with everything saved."""
        return self.exit_code not in (0, SAVED)


def judge(endings: Iterable[Ending]) -> Ending:
    """The ending of the whole run.

    The first failure that no other explains; else the first of those that were stopped or lost a neighbour; else,
    where the run was stopped and saved, that; else success.
    """
    ordered = sorted(endings, key=lambda ending: (ending.time, ending.rank or 0))
    failed = [ending for ending in ordered if ending.failed]
    for ending in failed:
        if not ending.bereft and ending.exit_code not in STOPPED:
            return ending
    if failed:
        return failed[0]
    return next((ending for ending in ordered if ending.exit_code == SAVED), Ending())


def killed(rank: int | None, exit_code: int | None, time: float) -> Ending:
    """The ending of a process that left no word.

    Args:
        rank: None is torchrun itself.
        exit_code: negative for a signal, None where it is not known.
        time: when it was seen to be gone.
    """
    who = "torchrun" if rank is None else f"rank {rank}"
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        memory = " (out of memory?)" if name == "SIGKILL" else ""
        return Ending(exit_code=1, message=f"{who} was killed by {name}{memory}", hint=GO_ON, rank=rank, time=time)
    how = "" if exit_code is None else f" with exit code {exit_code} and"
    return Ending(exit_code=1, message=f"{who} ended{how} without a word", hint=GO_ON, rank=rank, time=time)


def write_ending(folder: Path, ending: Ending) -> None:
    """Leave the record of one rank; whole or not at all."""
    path = folder / f"rank{ending.rank}.json"
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(asdict(ending)), encoding="utf-8")
    temporary.replace(path)


def read_ending(folder: Path, rank: int) -> Ending | None:
    """The record of one rank, None while there is none."""
    try:
        return Ending(**json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
