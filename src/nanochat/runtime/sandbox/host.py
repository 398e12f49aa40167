"""The process outside: starts a run, feeds it, reads what comes, and ends all of it when a bound is reached."""

from __future__ import annotations

import contextlib
import marshal
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanochat.runtime.sandbox.confine import Orders
from nanochat.runtime.sandbox.inside import STARTED
from nanochat.runtime.sandbox.result import Outcome
from nanochat.runtime.sandbox.verdicts import FULL
from nanochat.runtime.sandbox.wire import LENGTH_BYTES

START_S = 30.0
"""How long the processes may take to start, on a machine that is busy; the program's own time begins after that."""
LOOK_EVERY_S = 0.05
"""How often memory is added up. Between two looks each process has its own limit."""
RUNAWAYS_S = 2.0
"""How long processes are looked for that have left the group of a run: they may start others meanwhile."""
LONGEST_REPORT = 64 * 1024
CHUNK = 1 << 16


@dataclass
class Run:
    """What has come of a run so far."""

    output_bytes: int
    written: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    report: bytearray = field(default_factory=bytearray)
    started: float | None = None
    stopped: tuple[Outcome, str] | None = None

    def verdict(self) -> tuple[str, str] | None:
        """What the judge said; None when it said nothing."""
        lines = self.report.decode("utf-8", "replace").split("\n")[:-1]
        word, _, detail = lines[-1].partition(": ") if lines else ("", "", "")
        return (word, detail) if word not in ("", STARTED) else None

    def take(self, stream: bytearray, data: bytes) -> None:
        """Keep output up to the limit; beyond it the run ends."""
        room = self.output_bytes - len(self.written) - len(self.errors)
        stream += data[:room]
        if len(data) > room:
            self.stopped = self.stopped or (Outcome.OUTPUT_LIMIT, f"more than {self.output_bytes} bytes of output")


def run(command: list[str], orders: Orders, check: str | None, output_bytes: int) -> tuple[Run, int]:
    """Do one run to its end.

    Args:
        command: starts `inside.main`; the descriptor of the report is appended.
        orders: what to do.
        check: what to judge by, if anything.
        output_bytes: as in `Limits`.

    Returns:
        What came of it, and the exit status of its first process.

    Raises:
        OSError: no process could be started.
    """
    done = Run(output_bytes)
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [*command, str(writing)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[writing],
            env=_environment(),
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        message = _packed(vars(orders)) + (b"" if check is None else _packed(check))
        with selectors.DefaultSelector() as selector:
            _exchange(done, process, selector, reading, memoryview(message), orders)
    finally:
        if orders.isolation < FULL:
            _end_runaways(process.pid)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # not yet waited for, so the number is still its own
        process.wait()
        _drain(done, process)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        os.close(reading)
    return done, process.returncode


def _exchange(
    done: Run,
    process: subprocess.Popen[bytes],
    selector: selectors.BaseSelector,
    reading: int,
    message: memoryview,
    orders: Orders,
) -> None:
    """Feed and read until there is a verdict, or a bound is reached."""
    assert process.stdin and process.stdout and process.stderr
    stdin = process.stdin.fileno()
    streams = {process.stdout.fileno(): done.written, process.stderr.fileno(): done.errors, reading: done.report}
    for descriptor in (stdin, *streams):
        os.set_blocking(descriptor, False)
    selector.register(stdin, selectors.EVENT_WRITE)
    for descriptor in streams:
        selector.register(descriptor, selectors.EVENT_READ)
    began = time.monotonic()
    look_at = began + LOOK_EVERY_S
    while done.stopped is None:
        deadline = began + START_S if done.started is None else done.started + orders.wall_s
        now = time.monotonic()
        if now >= deadline:
            late = (Outcome.INFRASTRUCTURE, f"it did not start within {START_S:.0f} s")
            done.stopped = late if done.started is None else (Outcome.TIMED_OUT, f"{orders.wall_s:g} s are over")
            return
        if now >= look_at:
            look_at = now + LOOK_EVERY_S
            if memory_bytes(process.pid) > orders.memory_bytes:
                done.stopped = (Outcome.OUT_OF_MEMORY, "its processes together")
                return
        for key, _ in selector.select(min(deadline, look_at) - now):
            descriptor = key.fd
            if descriptor == stdin:
                with contextlib.suppress(BlockingIOError):
                    try:
                        message = message[os.write(stdin, message[:CHUNK]) :]
                    except BrokenPipeError:
                        message = message[:0]
                    if not message:
                        selector.unregister(stdin)
                        process.stdin.close()
                continue
            data = os.read(descriptor, CHUNK)
            if descriptor != reading:
                done.take(streams[descriptor], data)
                if not data:
                    selector.unregister(descriptor)
                continue
            done.report += data
            if done.started is None and b"\n" in done.report:
                done.started = time.monotonic()
            if not data or done.report.count(b"\n") > 1 or len(done.report) > LONGEST_REPORT:
                return


def _drain(done: Run, process: subprocess.Popen[bytes]) -> None:
    """What was printed last. Everyone who could still write is dead or dying."""
    for stream, kept in ((process.stdout, done.written), (process.stderr, done.errors)):
        with contextlib.suppress(BlockingIOError):
            while stream is not None and (data := os.read(stream.fileno(), CHUNK)):
                done.take(kept, data)
                if done.stopped is not None and done.stopped[0] is Outcome.OUTPUT_LIMIT:
                    break


def _end_runaways(pid: int) -> None:
    """End what has left the group of a run, as a daemon does. The run's first process has adopted it, so it is found as
    long as that one lives; above, the kernel ends it.
    """
    until = time.monotonic() + RUNAWAYS_S
    while time.monotonic() < until:
        groups = {group for child in _descendants(pid) if (group := _group(child)) not in (None, pid)}
        if not groups:
            return
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.001)


def _group(pid: int) -> int | None:
    """The process group of a process that lives; None for one that does not."""
    try:
        state, _, group = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return None
    return None if state in "ZX" else int(group)


def memory_bytes(pid: int) -> int:
    """Memory of a process's descendants that is theirs and no file's; pages that two share count twice."""
    if Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return sum(map(_own_memory, _descendants(pid)))
    import psutil  # which looks at every process of the machine to find these

    total = 0
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                total += child.memory_info().rss
    return total


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _descendants(child)


def _own_memory(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:")))
    return sum(int(line[1]) * 1024 for line in lines)


def _environment() -> dict[str, str]:
    """Nothing of ours, but for what the interpreter needs to start where its library lies in an unusual place."""
    # one arena of malloc: each thread's own would reserve 64 MiB of the address space that is limited
    names = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {"LC_ALL": "C.UTF-8", "MALLOC_ARENA_MAX": "1", **kept}


def _packed(value: dict[str, Any] | str) -> bytes:
    data = marshal.dumps(value)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
