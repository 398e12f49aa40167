"""Leases: of several processes, on one machine or on many that share a folder, one works on a path at a time.

A lease is a small file with a number in its name, made with O_EXCL, that says who holds it; its holder touches it
every few seconds. File locks are not used: on many network file systems they succeed for everybody.

Whoever finds the holder dead makes the file with the next number (again O_EXCL: only one can), looks once more that
nobody else came in between, and removes the dead one. A holder of this machine is dead when its process is; one of
another machine when it has not touched its file for `stale_s` seconds of our clock (clocks are never compared).

A process that was stopped for longer than that may wake up and find its lease taken: `Lease.valid` says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nanochat.errors import StorageError
from nanochat.runtime.files import translate_os_errors

FOLDER = ".leases"
BEAT_S = 5.0
STALE_S = 60.0  # a dozen beats: a network file system may hold back times for some seconds


@dataclass(frozen=True, slots=True)
class _Sign:
    """A lease file as it was found. `holder` is empty when it was cut short."""

    holder: str
    token: str
    modified_ns: int


class Lease:
    """The right to work on one path, until `release`."""

    def __init__(self, file: Path, token: str, keeper: LeaseKeeper) -> None:
        self.file = file
        self.token = token
        self._keeper = keeper
        self._lost = False
        self._beaten_at = keeper.now()

    @property
    def valid(self) -> bool:
        """Whether it is still ours; looks at the file when the last beat is long ago."""
        if not self._lost and self._keeper.now() - self._beaten_at > self._keeper.stale_s / 2:
            self.beat()
        return not self._lost

    def beat(self) -> bool:
        """Touch the file. Returns whether it is still ours."""
        try:
            sign = _read(self.file)
            if sign is None or sign.token != self.token:
                self._lost = True
            else:
                os.utime(self.file)
                self._beaten_at = self._keeper.now()
        except OSError:  # the file system hangs: others see no beat either
            self._lost = self._keeper.now() - self._beaten_at > self._keeper.stale_s
        return not self._lost

    def release(self) -> None:
        """Give it back; to do so twice is harmless."""
        self._keeper._forget(self)
        with contextlib.suppress(OSError):
            sign = _read(self.file)
            if sign is not None and sign.token == self.token:
                self.file.unlink(missing_ok=True)
            self.file.parent.rmdir()  # the last one leaves no folder behind
        self._lost = True


class LeaseKeeper:
    """Acquires leases for this process and keeps them alive on a thread. Use it as a context manager.

    Args:
        beat_s: seconds between two touches of a file.
        stale_s: after so long without a touch a holder is dead; the same in all processes.
        now: seconds; for tests.
    """

    def __init__(
        self, *, beat_s: float = BEAT_S, stale_s: float = STALE_S, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.beat_s = beat_s
        self.stale_s = stale_s
        self.now = now
        self._held: set[Lease] = set()
        self._seen: dict[Path, tuple[_Sign, float]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> LeaseKeeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give all leases back."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()
        for lease in list(self._held):
            lease.release()

    def acquire(self, path: Path) -> Lease | None:
        """The lease of `path`, which need not exist itself; None while somebody alive has it.

        Raises:
            StorageError: the folder cannot be written.
        """
        folder = path.parent / FOLDER
        with translate_os_errors(folder):
            there = _leases(folder, path.name)
            if any(self._alive(file, sign) for file, sign in there.items()):
                return None
            file = folder / f"{path.name}.{max(map(_number, there), default=0) + 1}"
            token = uuid.uuid4().hex
            if not _create(file, json.dumps({"holder": _this_process(), "token": token})):
                return None
            lease = Lease(file, token, self)
            dead = {sign.token for sign in there.values()}
            others = _leases(folder, path.name).items()
            if any(other != file and sign.token not in dead for other, sign in others):
                lease.release()
                return None
            for other in there:
                other.unlink(missing_ok=True)
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
                self._thread.start()
        return lease

    def _alive(self, file: Path, sign: _Sign) -> bool:
        if sign.holder:
            holder = json.loads(sign.holder)
            if holder["machine"] == _machine():
                return _runs(holder["pid"], holder["started"])
        with self._lock:
            known = self._seen.get(file)
            if known is None or known[0] != sign:
                self._seen[file] = known = (sign, self.now())
        return self.now() - known[1] < self.stale_s

    def _beat(self) -> None:
        while not self._end.wait(self.beat_s):
            with self._lock:
                held = list(self._held)
            for lease in held:
                lease.beat()

    def _forget(self, lease: Lease) -> None:
        with self._lock:
            self._held.discard(lease)


@contextlib.contextmanager
def held(path: Path, *, timeout_s: float = 120.0) -> Iterator[None]:
    """Wait for the lease of `path` and hold it for the block, e.g. to change a file that others change too.

    Raises:
        StorageError: it was not to be had in `timeout_s`, or the folder cannot be written.
    """
    with LeaseKeeper() as keeper:
        until = keeper.now() + timeout_s
        while (lease := keeper.acquire(path)) is None:
            if keeper.now() > until:
                raise StorageError(
                    f"another process has held {path} for {timeout_s:.0f} s",
                    f"end that process, or delete {path.parent / FOLDER} if there is none",
                )
            time.sleep(random.uniform(0.005, 0.05))
        try:
            yield
        finally:
            lease.release()


def _create(file: Path, text: str) -> bool:
    """Make the file unless it is there. Its folder goes when the last lease goes, also just now."""
    for _ in range(100):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        except FileNotFoundError:
            continue
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        return True
    return False


def _leases(folder: Path, name: str) -> dict[Path, _Sign]:
    """The lease files of a name, dead or alive."""
    found = {}
    try:
        files = [file for file in folder.iterdir() if file.name.rpartition(".")[0] == name]
    except FileNotFoundError:
        return {}
    for file in files:
        if (sign := _read(file)) is not None:
            found[file] = sign
    return found


def _number(file: Path) -> int:
    digits = file.name.rpartition(".")[2]
    return int(digits) if digits.isdecimal() else 0


def _read(file: Path) -> _Sign | None:
    """What a lease file says; None when it is gone."""
    try:
        text = file.read_bytes()
        modified = file.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        values: Any = json.loads(text)
        holder = values["holder"]
        sign = {"machine": str(holder["machine"]), "pid": int(holder["pid"]), "started": float(holder["started"])}
        return _Sign(json.dumps(sign), str(values["token"]), modified)
    except (ValueError, TypeError, KeyError):
        return _Sign("", "", modified)  # killed while writing it; only time tells


@cache
def _machine() -> str:
    """Name of the machine, since when it runs, and whose process ids are meant (containers have their own)."""
    parts = [platform.node()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        lambda: str(Path("/proc/self/ns/pid").readlink()),
    ):
        with contextlib.suppress(OSError):
            parts.append(read())
    return " ".join(parts)


def _this_process() -> dict[str, Any]:
    import psutil

    return {"machine": _machine(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _runs(pid: int, started: float) -> bool:
    """Whether the process is alive; another that got its number later is not it."""
    import psutil

    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
