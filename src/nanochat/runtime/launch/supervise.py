"""The launcher: starts torchrun, passes signals on, takes down what is left, and finds out how it ended.

torchrun gives its processes 30 seconds after a signal, too little for a save, and reports failures as a traceback of
its own. So it runs in a session of its own, where the terminal's signals do not reach it, with its report going to a
file. Signals go to the processes themselves, which save and leave together. Once one has failed the others have
`GRACE_S`, then all are killed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

from nanochat.runtime.launch.ending import SAVED, STOPPED, Ending, judge, killed, read_ending
from nanochat.runtime.launch.pulse import LOOKS, patience, silence
from nanochat.runtime.launch.worker import FOLDER_VARIABLE, LAUNCHER_VARIABLE, NO_PULSE
from nanochat.runtime.stop import SIGNALS

GRACE_S = 10.0
LOOK_EVERY_S = 0.1
SECOND_PATIENCE = 1 + 4 / LOOKS  # the ranks' own verdict takes its last look, a look to be read, and time to be told
REPORT = "torchrun.log"
_REPORTED = re.compile(r"^ *rank *: (\d+) \(local_rank: \d+\)\n *exitcode *: (-?\d+)", re.MULTILINE)


def supervise(command: Sequence[str], nproc: int, environ: Mapping[str, str]) -> Ending:
    """Run torchrun to its end.

    Args:
        command: the whole command line.
        nproc: how many processes it starts on this machine.
        environ: for all of them.

    Returns:
        How the run ended, as one process would tell it. What torchrun and the other ranks have written is kept
        where that may help, and the hint names the folder.
    """
    patience_s = patience(environ)
    folder = Path(tempfile.mkdtemp(prefix="nanochat-launch-"))
    ours = {**environ, FOLDER_VARIABLE: str(folder), LAUNCHER_VARIABLE: str(os.getpid())}
    try:
        screen: Any = sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # no file, as under a test that captures
        screen = subprocess.DEVNULL
    with Signals() as signals, (folder / REPORT).open("wb") as report:
        agent = subprocess.Popen(command, env=ours, stdin=screen, stderr=report, start_new_session=True)
        launch = Launch(folder, nproc, agent, patience_s)
        try:
            ending = launch.run(signals)
        finally:
            launch.kill()  # whatever has happened here, nothing is left behind
    unexplained = ending.failed and ending.exit_code not in STOPPED and ending.rank not in launch.told
    if ending.trace or unexplained:
        return _with_folder(ending, folder)
    shutil.rmtree(folder, ignore_errors=True)
    return ending


def _with_folder(ending: Ending, folder: Path) -> Ending:
    more = f"what the processes wrote is in {folder}"
    if ending.trace:
        return replace(ending, trace=f"{ending.trace.rstrip()}\n({more})")
    return replace(ending, hint=f"{ending.hint}; {more}" if ending.hint else more)


class Signals:
    """While the block runs, signals wait in a queue; a SIGINT after another signal sets `insisted`."""

    def __init__(self) -> None:
        self.insisted = False
        self._waiting: list[int] = []
        self._asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        stop = [signal.SIGTSTP] if hasattr(signal, "SIGTSTP") else []
        for number in (*SIGNALS, *stop):
            with contextlib.suppress(ValueError):  # not the main thread
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.insisted = self.insisted or (self._asked and number == signal.SIGINT)
        self._asked = self._asked or number in SIGNALS
        self._waiting.append(number)

    def take(self) -> Iterator[int]:
        """Those that have come since the last call."""
        while self._waiting:
            yield self._waiting.pop(0)


@dataclass
class Launch:
    """The processes of this machine, as far as they have shown themselves.

    Attributes:
        folder: where they leave their records.
        nproc: how many there will be.
        agent: torchrun.
        patience_s: for how long a rank may show no life.
        told: how ranks ended that said so, or that show no life.
    """

    folder: Path
    nproc: int
    agent: subprocess.Popen[bytes]
    patience_s: float
    told: dict[int, Ending] = field(default_factory=dict)
    _workers: dict[int, psutil.Process] = field(default_factory=dict)
    _gone: dict[int, float] = field(default_factory=dict)
    _still: dict[int, tuple[int, int]] = field(default_factory=dict)

    def run(self, signals: Signals) -> Ending:
        """Look after them until none is left; how it ended."""
        agent_gone = kill_at = 0.0
        early = 0
        while True:
            for number in signals.take():
                self._look()
                if number == getattr(signal, "SIGTSTP", None):
                    self._suspend()
                elif len(self._workers) < self.nproc and self.agent.poll() is None:
                    early = number  # nothing has begun: there is nothing to save
                else:
                    self._send(self._workers.values(), number)
            self._look()
            if self.agent.poll() is not None and not agent_gone:
                agent_gone = time.time()
            if signals.insisted or early:
                self.kill()
                number = signal.SIGINT if signals.insisted else early
                return Ending(exit_code=128 + number, message="interrupted" if number == signal.SIGINT else "")
            if agent_gone and not self._living():
                break
            failed = bool(self._gone) or any(ending.failed for ending in self.told.values())
            if failed and not kill_at:
                kill_at = time.monotonic() + GRACE_S
            if kill_at and time.monotonic() > kill_at:
                break
            time.sleep(LOOK_EVERY_S)
        seen = dict(self._gone)  # those gone before we kill
        self._clear_away()
        return self._judge(seen, agent_gone)

    def _look(self) -> None:
        """Who has begun, who has told how it ended, who is gone without a word."""
        for path in self.folder.glob("rank*.pid"):
            rank = int(path.stem.removeprefix("rank"))
            if rank not in self._workers and rank not in self._gone:
                try:
                    self._workers[rank] = psutil.Process(int(path.read_text(encoding="utf-8")))
                except psutil.NoSuchProcess:
                    self._ended(rank)
        for rank, worker in self._workers.items():
            living = _lives(worker)  # before the record is looked for: it is written before the end
            if rank not in self.told and (ending := read_ending(self.folder, rank)):
                self.told[rank] = ending
            if not living:
                self._ended(rank)
            elif rank not in self.told:
                self._feel(rank)

    def _feel(self, rank: int) -> None:
        """Whether a rank still shows life; for a process that is stopped alone on its machine nobody else looks here.

        The other ranks come first: they tell all machines.
        """
        shown = (self.folder / f"rank{rank}.pid").stat().st_mtime_ns
        before, still = self._still.get(rank, (shown, 0))
        still = still + 1 if shown == before and shown != NO_PULSE else 0
        self._still[rank] = (shown, still)
        if still * LOOK_EVERY_S > self.patience_s * SECOND_PATIENCE:
            self.told[rank] = silence(f"rank {rank}", self.patience_s, rank)

    def _ended(self, rank: int) -> None:
        if rank not in self.told and (ending := read_ending(self.folder, rank)):
            self.told[rank] = ending
        if rank not in self.told:
            self._gone.setdefault(rank, time.time())

    def _living(self) -> list[psutil.Process]:
        return [worker for worker in self._workers.values() if _lives(worker)]

    def _send(self, processes: Any, number: int) -> None:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)

    def _everyone(self) -> list[psutil.Process]:
        """All workers, what they have started, and what torchrun has started."""
        found: dict[int, psutil.Process] = {}
        roots = list(self._workers.values())
        with contextlib.suppress(psutil.Error):
            roots += psutil.Process(self.agent.pid).children()
        for root in roots:
            with contextlib.suppress(psutil.Error):
                found |= {process.pid: process for process in (root, *root.children(recursive=True))}
        return list(found.values())

    def _suspend(self) -> None:
        """Ctrl-Z: stop all, then this process; when it goes on, so do they."""
        everyone = self._everyone()
        self._send(everyone, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(everyone, signal.SIGCONT)

    def kill(self) -> None:
        """Take down what is left: torchrun first, so that it starts and reports nothing more."""
        everyone = self._everyone()
        with contextlib.suppress(OSError):
            self.agent.kill()
        self._send(everyone, signal.SIGKILL)
        self.agent.wait()
        psutil.wait_procs(everyone, timeout=GRACE_S)

    def _clear_away(self) -> None:
        """Kill the processes and let torchrun report."""
        everyone = self._everyone()
        self._send(everyone, signal.SIGKILL)
        psutil.wait_procs(everyone, timeout=GRACE_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.agent.wait(GRACE_S)
        self.kill()

    def _judge(self, gone: Mapping[int, float], agent_gone: float) -> Ending:
        report = (self.folder / REPORT).read_text(encoding="utf-8", errors="replace")
        codes = {int(rank): int(code) for rank, code in _REPORTED.findall(report)}
        first = _REPORTED.search(report.partition("Root Cause")[2])
        endings = list(self.told.values())
        endings += [killed(rank, codes.get(rank), when) for rank, when in gone.items()]
        unseen = (
            codes.keys() - self._workers.keys() - self.told.keys() - gone.keys()
        )  # they ended before they could begin
        for rank in unseen:  # torchrun alone knows when: the first, or later than all else
            endings.append(killed(rank, codes[rank], 0.0 if first and rank == int(first[1]) else time.time()))
        code = self.agent.returncode
        if agent_gone and code < 0 and not all(ending.exit_code in (0, SAVED) for ending in endings):
            endings.append(killed(None, code, agent_gone))
        if code and not endings:
            return self._never_began(code, report)
        return judge(endings)

    def _never_began(self, code: int, report: str) -> Ending:
        """Torchrun failed before any of our processes could speak."""
        if code < 0:
            return killed(None, code, time.time())
        said = next(
            (line.strip() for line in reversed(report.splitlines()) if re.match(r"\S*(Error|Exception)\b", line)), ""
        )
        return Ending(exit_code=1, message=f"torchrun could not start the processes: {said or f'exit code {code}'}")


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
