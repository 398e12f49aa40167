"""Starts loggers beside a run and feeds them its events.

The run only appends to a queue. A thread hands the lines to the logger's process; when that does not keep up, steps
are left out of the queue, never evaluations. The run's own `events.jsonl` has them all in any case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import IO

from nanochat.errors import MissingError, StorageError
from nanochat.runtime.events import (
    Evaluated,
    Event,
    Notice,
    OnEvent,
    RolloutsDone,
    Sampled,
    StageFinished,
    StageStarted,
    StepDone,
    record_of,
)
from nanochat.runtime.files import translate_os_errors
from nanochat.runtime.paths import Paths

TOLD = (StageStarted, StepDone, RolloutsDone, Evaluated, Sampled, StageFinished)
STEPS_WAITING = 10_000  # 5 MB of events at most; a logger that waits 30 s for its network loses none of 300 a second
CLOSING_S = 20.0  # what a run waits at its end for what is still to be sent


def check_installed(names: Sequence[str]) -> None:
    """Refuse loggers whose library is not there, before anything has begun.

    Raises:
        MissingError: it is not installed; the hint is the command that does it.
    """
    for name in names:
        if find_spec(name) is None:
            raise MissingError(f"--logger {name} needs the package {name}", f'pip install "nanochat[{name}]"')


@contextmanager
def attach_loggers(names: Sequence[str], paths: Paths, on_event: OnEvent) -> Iterator[OnEvent]:
    """Start loggers; the block's value consumes events and returns at once.

    Args:
        names: of the loggers.
        paths: where models are, and where loggers keep their files.
        on_event: told what loggers have to say, as notices.
    """
    processes = []
    for name in names:
        try:
            processes.append(LoggerProcess(name, paths, on_event))
        except (OSError, StorageError) as error:
            message = f"{name} could not be started: {error}; the run goes on without it"
            on_event(Notice(stage="", level="warning", message=message))

    def tell_all(event: Event) -> None:
        if isinstance(event, TOLD):
            line = json.dumps(record_of(event)).encode() + b"\n"
            for process in processes:
                process.send(line, dispensable=isinstance(event, StepDone | RolloutsDone))

    try:
        yield tell_all
    finally:
        deadline = time.monotonic() + CLOSING_S
        for process in processes:
            process.end()
        for process in processes:
            process.wait(deadline)


class LoggerProcess:
    """One logger in a process of its own. Nothing it does is an error of the run.

    It belongs to another session than the run, so Ctrl-C does not reach it, and it ends when the run is gone.

    Raises:
        OSError, StorageError: the process cannot be started.
    """

    def __init__(self, name: str, paths: Paths, on_event: OnEvent) -> None:
        self._name = name
        self._on_event = on_event
        self._folder = paths.base / "logs"
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._gone = False
        self._warned = False
        self._unheard = False
        self._left_out = 0
        with translate_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            said = (self._folder / f"{name}.log").open("wb")
        with said:
            self._process = subprocess.Popen(
                # -P: a folder `wandb` in the working directory, as wandb itself makes them, is no module
                [sys.executable, "-P", "-m", "nanochat.loggers", name, str(paths.models), str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                bufsize=0,
                start_new_session=True,
            )
        self._feeder = threading.Thread(target=self._feed, name=f"feed {name}", daemon=True)
        self._listener = threading.Thread(target=self._listen, name=f"hear {name}", daemon=True)
        self._feeder.start()
        self._listener.start()

    def send(self, line: bytes, *, dispensable: bool) -> None:
        """Queue one event as a line of JSON; a dispensable one is left out where too many are waiting."""
        if self._gone:
            return
        with self._changed:
            if dispensable and len(self._waiting) >= STEPS_WAITING:
                self._left_out += 1
                return
            self._waiting.append(line)
            self._changed.notify()

    def end(self) -> None:
        """No more events come: it may send the rest and leave."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def wait(self, deadline: float) -> None:
        """Wait until it has left, by `time.monotonic` until `deadline`; a slow one goes on by itself, within limits."""
        self._feeder.join(max(0.0, deadline - time.monotonic()))
        if self._feeder.is_alive():  # it does not even read: it hangs
            self._process.kill()
            self._warn("has stopped reading; the rest of the run is missing there")
        try:
            self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._warn(f"is still sending, and goes on by itself as process {self._process.pid}")
            self._unheard = True
            return
        self._listener.join(1.0)
        if self._process.returncode:
            self._warn(f"ended with code {self._process.returncode}")
        if self._left_out:
            self._warn(f"was too slow: {self._left_out:,} steps are missing there")

    def _feed(self) -> None:
        pipe: IO[bytes] | None = self._process.stdin
        assert pipe is not None
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting or self._ending)
                    line = self._waiting.popleft() if self._waiting else b"\n"  # an empty line is the end
                _write_all(pipe.fileno(), line)
                if line == b"\n":
                    return
        except OSError:
            self._gone = True
            self._waiting.clear()
        finally:
            with suppress(OSError):
                pipe.close()

    def _listen(self) -> None:
        """Pass on what it says about itself; it is gone when it says no more."""
        pipe: IO[bytes] | None = self._process.stdout
        assert pipe is not None
        with pipe:
            for line in pipe:
                with suppress(ValueError, KeyError):
                    said = json.loads(line)
                    self._say(str(said["message"]), str(said["level"]))
        if not self._ending:
            self._gone = True
            self._warn("ended; the run goes on without it")

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._say(f"{self._name} {what} (its log: {self._folder / self._name}.log)", "warning")

    def _say(self, message: str, level: str) -> None:
        self._warned = self._warned or level == "warning"
        if not self._unheard:  # after the end there is no display any more
            self._on_event(Notice(stage="", level=level, message=message))


def _write_all(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]
