"""Running a program: what the rest of nanochat calls.

Covered: a program that harms, spies, calls home, floods, hangs, lies or stays. Not covered: faults of the kernel
itself, what a processor leaks through time, and a machine with many runs at once: the limits are each run's own.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from functools import cache
from pathlib import Path

from nanochat.errors import MissingError
from nanochat.runtime.sandbox import seatbelt
from nanochat.runtime.sandbox.limits import Limits
from nanochat.runtime.sandbox.result import Isolation, Outcome, SandboxResult

COUNTS_BY_NAMESPACE = (5, 14)
"""Linux that counts the processes of a user in a user namespace apart from the others he has."""
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/etc/ld.so.cache", "/usr/share/zoneinfo")
PROBE = "import decimal, hashlib, json, random"
"""Parts of the library that lie in several of its folders: a level at which they cannot be read is none."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def run_python(source: str, *, stdin: str = "", limits: Limits = Limits()) -> SandboxResult:
    """Run a script; what it prints is what is wanted.

    Args:
        source: the script.
        stdin: what it reads.
        limits: what it may use.

    Returns:
        `PASSED` when it ended by itself with status 0. That is its own word, and no judgement of what it did.
    """
    return _run(source, None, stdin, limits, reached_isolation())


def check_python(program: str, check: str, *, limits: Limits = Limits()) -> SandboxResult:
    """Run a program that is not trusted, then a check that is, in another process that calls what the program defines.

    Args:
        program: defines functions, classes, values.
        check: uses them, and raises when they are wrong. The program never sees it, nor what its answers are compared
            with. Whatever else the check needs it defines or imports itself: what the program says a name is, it is.
        limits: what both together may use.

    Returns:
        `PASSED` when the check went through to its end.
    """
    return _run(program, check, "", limits, reached_isolation())


@cache
def reached_isolation() -> Isolation:
    """The level of this machine, found by running a small program at each from the highest down. Asked once."""
    levels = list(Isolation)[:0:-1]
    if sys.platform == "darwin":
        levels = [Isolation.FILES, Isolation.PROCESS]
    elif sys.platform != "linux":
        levels = [Isolation.PROCESS] if os.name == "posix" else []
    for level in levels:
        if _run(PROBE, None, "", Limits(wall_s=30.0), level).passed:
            return level
    return Isolation.NONE


def require_isolation(wanted: Isolation = Isolation.FILES) -> None:
    """See that programs of a model are held well enough here; by default, that they can read no file of the user's.

    Raises:
        MissingError: they are not.
    """
    reached = reached_isolation()
    if reached < wanted:
        raise MissingError(
            f"programs of a model would not be held well enough here: isolation is {reached.words}",
            "docs/sandbox.md says what a machine needs; --unsafe-exec runs them all the same",
        )


def _run(program: str, check: str | None, stdin: str, limits: Limits, isolation: Isolation) -> SandboxResult:
    began = time.monotonic()

    def result(outcome: Outcome, detail: str, out: bytes = b"", errors: bytes = b"") -> SandboxResult:
        texts = [data.decode("utf-8", "replace") for data in (out, errors)]
        return SandboxResult(outcome, texts[0], texts[1], isolation, time.monotonic() - began, detail)

    if isolation is Isolation.NONE:
        return result(Outcome.INFRASTRUCTURE, isolation.words)
    from nanochat.runtime.sandbox import host  # needs a system with `resource`
    from nanochat.runtime.sandbox.confine import Orders

    orders = Orders(
        program=program,
        judged=check is not None,
        stdin=stdin,
        isolation=int(isolation),
        wall_s=limits.wall_s,
        memory_bytes=limits.memory_bytes,
        processes=limits.processes,
        disk_bytes=limits.disk_bytes,
        readable=_readable(),
        others=_others(isolation),
        host=os.getpid(),
    )
    try:
        run, status = host.run(_command(isolation), orders, check, limits.output_bytes)
    except OSError as error:
        return result(Outcome.INFRASTRUCTURE, f"no process could be started: {error}")
    out, errors = bytes(run.written), bytes(run.errors)
    if run.stopped is not None:
        return result(*run.stopped, out, errors)
    verdict = run.verdict()
    if verdict is not None:
        return result(Outcome(verdict[0]), verdict[1], out, errors)
    if run.started is None or status == -9:  # nobody inside can kill the judge; the machine did
        words = errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return result(Outcome.INFRASTRUCTURE, f"its first process ended with status {status}: {words}", out, errors)
    return result(Outcome.CRASHED, f"its judge ended with status {status}", out, errors)


@cache
def _interpreter() -> str:
    """The interpreter itself, not a virtual environment's name for it."""
    return str(Path(getattr(sys, "_base_executable", "") or sys.executable).resolve())


def _command(isolation: Isolation) -> list[str]:
    package = str(Path(__file__).parents[3])
    code = f"import sys; sys.path.insert(0, {package!r}); from nanochat.runtime.sandbox.inside import main; "
    code += "del sys.path[0]; main()"
    command = [_interpreter(), "-I", "-S", "-X", "utf8", "-c", code]
    if sys.platform == "darwin" and isolation >= Isolation.FILES:
        return [*seatbelt.command([_interpreter(), sys.base_prefix], [*_readable(), package]), *command]
    return command


@cache
def _readable() -> tuple[str, ...]:
    """What an interpreter needs to import the standard library, by every name it may use; no path below another."""
    import sysconfig

    own = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib")]
    own += [sysconfig.get_config_var("DESTSHARED"), str(Path(sys.base_prefix, "lib"))]
    names = {str(name) for path in own if path for name in (path, Path(path).resolve())}
    kept: list[str] = []
    for name in sorted(names.union(SYSTEM), key=len):
        if not any(Path(name).is_relative_to(other) for other in kept):
            kept.append(name)
    return (*kept, *DEVICES)


def _others(isolation: Isolation) -> int:
    """Processes and threads that the kernel will count with the program's: those of the same user, where no namespace
    keeps them apart. Runs of root have a user each.
    """
    if sys.platform != "linux" or os.geteuid() == 0:
        return 0
    version = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in platform.release().split(".")[:2])
    if isolation >= Isolation.FULL and version >= COUNTS_BY_NAMESPACE:
        return 0
    import psutil

    user = os.getuid()
    mine = [process for process in psutil.process_iter(["uids", "num_threads"]) if process.info["uids"]]
    return sum(process.info["num_threads"] or 0 for process in mine if process.info["uids"].real == user)
