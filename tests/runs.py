"""Runs of the command in processes of their own, for tests that kill them.

Most are forked from a process that has loaded torch already: a run as any other, without the seconds that takes.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

SERVER = """
import os, sys
import torch, pyarrow.parquet, safetensors.torch
import nanochat.stages.pretrain, nanochat.commands.train, nanochat.console.progress
from nanochat.cli import entry

for line in sys.stdin:
    said, *sys.argv = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if not child:
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        try:
            entry()
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Run(Protocol):
    """A run under way."""

    def send(self, number: int) -> None:
        """Send it a signal; nothing when it has ended."""
        ...

    def wait(self, timeout: float) -> int | None:
        """Its exit status, negative for a signal; None when it goes on for longer than this many seconds."""
        ...

    def said(self) -> str:
        """What it wrote on stdout and stderr."""
        ...


class Command:
    """`python -m nanochat` with these words; what it writes goes to the file `said`."""

    def __init__(self, words: Sequence[str], said: Path) -> None:
        self._said = said
        with said.open("w") as out:
            self._process = subprocess.Popen([sys.executable, "-m", "nanochat", *words], stdout=out, stderr=out)

    def send(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, timeout: float) -> int | None:
        """Its exit status, or None."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def said(self) -> str:
        """What it wrote."""
        return self._said.read_text()


class Server:
    """Starts runs of the command, one at a time, without loading torch for each."""

    def __init__(self, folder: Path) -> None:
        self._said = folder / "said.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def start(self, words: Sequence[str]) -> Run:
        """A run with these words."""
        assert self._process.stdin is not None
        self._process.stdin.write("\t".join([str(self._said), "nanochat", *words]).encode() + b"\n")
        return _Forked(int(self.line()), self, self._said)

    def line(self, timeout: float | None = None) -> bytes:
        """What the server says next; nothing when that takes longer."""
        out = self._process.stdout
        assert out is not None
        return out.readline() if select.select([out], [], [], timeout)[0] else b""

    def close(self) -> None:
        """End it, once no run is under way."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


class _Forked:
    def __init__(self, pid: int, server: Server, said: Path) -> None:
        self._pid = pid
        self._server = server
        self._said = said
        self._status: int | None = None

    def send(self, number: int) -> None:
        if self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def wait(self, timeout: float) -> int | None:
        if self._status is None and (line := self._server.line(timeout)):
            self._status = int(line)
        return self._status

    def said(self) -> str:
        return self._said.read_text()


def ended(run: Run, timeout: float = 60.0) -> int:
    """The exit status of a run that ends by itself, or soon."""
    status = run.wait(timeout)
    if status is None:
        run.send(signal.SIGKILL)
        run.wait(10)
        raise AssertionError(f"it goes on after {timeout} s: {run.said()}")
    return status


def wait_for_bytes(run: Run, path: Path, more_than: int, timeout: float = 60.0) -> None:
    """Return when a file has more than this many bytes, or the run has ended."""
    until = time.monotonic() + timeout
    while not (path.exists() and path.stat().st_size > more_than) and run.wait(0.003) is None:
        assert time.monotonic() < until, run.said()
