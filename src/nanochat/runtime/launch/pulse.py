"""The pulse of a run of several processes: each shows that it lives, and notices when another does not.

A process whose neighbour is stopped or gone may wait in a collective call for ever, where no exception and no signal
handler reaches it. So two threads of each process count in torch's store: one raises this process's number and
reads that of the next rank, the other looks whether the first gets on. What has not moved for `LOOKS` of its *own*
looks in a row is called dead; a machine that was suspended as a whole has not looked either, and accuses nobody.

The first that notices writes the verdict in the store and ends its process at once; the others read it there and
end too, with the same words. A process that leaves in order says so first, and waits for the others. Also noticed:
that whoever started this process is gone, which counts as SIGTERM, for nobody is left to ask it to stop.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from nanochat.errors import UsageError
from nanochat.runtime.launch.ending import GO_ON, Ending

T = TypeVar("T")

PATIENCE_VARIABLE = "NANOCHAT_RANK_TIMEOUT"
PATIENCE_S = 60.0
LOOKS = 12
ASK_LIMIT_S = 3.0
WAIT_EVERY_S = 0.1


class Pulse:
    """Counts in the store and watches the next rank, until `depart` or the end of the process.

    Args:
        store: torch's store, a client that nobody else uses.
        rank: of this process.
        world_size: how many processes there are.
        patience_s: for how long a rank may be silent.
        end: called from a thread with the verdict and whether this process is the one that tells it.
        orphaned: whether those who started this process are gone.
        show: called at every look, to show a launcher of this machine that this process lives.
        host: who keeps the store, in words.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        world_size: int,
        *,
        patience_s: float,
        end: Callable[[Ending, bool], None],
        orphaned: Callable[[], bool] = lambda: False,
        show: Callable[[], None] = lambda: None,
        host: str = "rank 0",
    ) -> None:
        self._store = store
        self._rank = rank
        self._ranks = range(world_size)
        self._next = (rank + 1) % world_size
        self._patience_s = patience_s
        self._end = end
        self._orphaned = orphaned
        self._show = show
        self._host = host
        self._every_s = patience_s / LOOKS
        self._exchanges = 0
        self._stopping = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="pulse-beat", daemon=True)
        self._watching = threading.Thread(target=self._watch, name="pulse-watch", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._show()
        self._beating.start()
        self._watching.start()

    def _beat(self) -> None:
        """Raise this rank's number and judge that of the next, at every look."""
        seen, still = -1, 0
        while not self._stopping.wait(self._every_s):
            try:
                self._store.add(f"beat/{self._rank}", 1)
                verdict, mine = self._verdict(), False
                beats = self._store.add(f"beat/{self._next}", 0)
                left = self._store.check([f"left/{self._next}"])
                still = still + 1 if beats == seen and not left else 0
                seen = beats
                if verdict is None and still >= LOOKS:
                    verdict, mine = self._put(self._silence_of(f"rank {self._next}"))
            except RuntimeError:  # the store is gone; the other thread counts how long
                continue
            self._exchanges += 1
            if verdict is not None:
                self._finish(verdict, tell=mine)

    def _watch(self) -> None:
        """Look whether the store answers and the parents live."""
        seen, still = -1, 0
        told_to_stop = False
        while not self._stopping.wait(self._every_s):
            self._show()
            still = still + 1 if self._exchanges == seen else 0
            seen = self._exchanges
            if still > LOOKS:
                self._finish(self._silence_of(self._host), tell=True)
            if not told_to_stop and self._orphaned():
                told_to_stop = True
                nobody = os.open(os.devnull, os.O_RDWR)
                for descriptor in (1, 2):  # the terminal belongs to somebody else now, or is closed
                    os.dup2(nobody, descriptor)
                os.kill(os.getpid(), signal.SIGTERM)

    def _silence_of(self, who: str) -> Ending:
        return silence(who, self._patience_s, self._rank)

    def _finish(self, ending: Ending, *, tell: bool) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            self._end(ending, tell)

    def _verdict(self) -> Ending | None:
        if not self._store.check(["verdict"]):
            return None
        return self._read(self._store.get("verdict"))

    def _put(self, ending: Ending) -> tuple[Ending, bool]:
        """Write the verdict where there is none yet; what stands there now, and whether it is this one."""
        mine = json.dumps(asdict(ending)).encode()
        stands = bytes(self._store.compare_set("verdict", "", mine))
        return self._read(stands), stands == mine

    def _read(self, verdict: bytes) -> Ending:
        return Ending(**{**json.loads(verdict), "rank": self._rank, "time": time.time()})

    def accuse(self, ending: Ending) -> bool:
        """Tell the others why this process fails, and stop; whether it is the first that does, as far as known."""
        self._stopping.set()  # or the thread would find the verdict and end the process before it is told
        return _in_time(lambda: self._put(ending)[1]) is not False

    def explain(self, ending: Ending) -> tuple[Ending, bool]:
        """Why this process lost the others: the verdict, if there is one soon, and whether this process tells it."""
        until = time.monotonic() + ASK_LIMIT_S
        found = None
        while not found and time.monotonic() < until:
            found = _in_time(self._verdict)
            time.sleep(WAIT_EVERY_S)
        if found:
            self._stopping.set()
            return found, False
        return ending, self.accuse(ending)

    def depart(self) -> None:
        """Leave in order, together: returns when all others have left, or cannot be asked any more.

        Rank 0, which may keep the store, goes last.
        """
        with contextlib.suppress(RuntimeError):
            self._store.set(f"left/{self._rank}", "1")
            while not self._all("left"):
                time.sleep(WAIT_EVERY_S)
        self._stopping.set()
        self._watching.join()  # it shows no more life from here on
        self._beating.join(ASK_LIMIT_S)
        _in_time(lambda: self._store.set(f"gone/{self._rank}", "1"))
        until = time.monotonic() + ASK_LIMIT_S
        while self._rank == 0 and not _in_time(lambda: self._all("gone")) and time.monotonic() < until:
            time.sleep(WAIT_EVERY_S)

    def _all(self, word: str) -> bool:
        return bool(self._store.check([f"{word}/{rank}" for rank in self._ranks]))


def _in_time(ask: Callable[[], T]) -> T | None:
    """What the store says, None where it says nothing in time: its calls know no limit."""
    answers: list[T] = []

    def work() -> None:
        with contextlib.suppress(RuntimeError):
            answers.append(ask())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(ASK_LIMIT_S)
    return answers[0] if answers else None


def silence(who: str, patience_s: float, rank: int) -> Ending:
    """The ending of a run of which `who` does not answer, told by `rank`."""
    return Ending(
        exit_code=1,
        message=f"{who} has not answered for {patience_s:g} s",
        hint=f"look at its machine: is the process stopped, the machine down, the network cut? {GO_ON}",
        rank=rank,
    )


def patience(environ: Mapping[str, str]) -> float:
    """Seconds a rank may be silent.

    Raises:
        UsageError: it is not a positive number.
    """
    text = environ.get(PATIENCE_VARIABLE) or str(PATIENCE_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"{PATIENCE_VARIABLE}={text} is no number of seconds", f"such as {PATIENCE_S:g}, the default")
    return seconds
