"""What the processes of a run give up, by the level that the machine allows. The kernel's part is `crates/jail`."""

from __future__ import annotations

import os
import resource
import stat
import sys

from nanochat.runtime.sandbox.verdicts import FILES, FULL, SYSCALLS

SCRATCH = "/tmp"
"""Where a program may write, when it has a root of its own: a folder in memory."""
SCRATCH_FILES = 2048
OURS = 2
"""Processes of a run that are not the program's: the judge and the keeper."""
OPEN_FILES = 64
PRIVATE_USERS = 0x7000_0000
"""First of the user numbers that runs take when root starts them; nobody has these."""
LOW_PRIVATE_USERS = 60_001
"""The same inside a container that knows 65,536 users only."""
CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 6, 7, 21


class Orders:
    """What the process outside tells the one inside.

    Attributes:
        program: source.
        judged: a check follows.
        stdin: what the program reads.
        isolation: the level to reach; less is an error.
        wall_s, memory_bytes, processes, disk_bytes: as in `Limits`.
        readable: files and folders that the interpreter needs.
        others: processes of the same user that count towards the limit.
        host: id of the process outside.
    """

    def __init__(
        self,
        *,
        program: str,
        judged: bool,
        stdin: str,
        isolation: int,
        wall_s: float,
        memory_bytes: int,
        processes: int,
        disk_bytes: int,
        readable: tuple[str, ...],
        others: int,
        host: int,
    ) -> None:
        self.program = program
        self.judged = judged
        self.stdin = stdin
        self.isolation = isolation
        self.wall_s = wall_s
        self.memory_bytes = memory_bytes
        self.processes = processes
        self.disk_bytes = disk_bytes
        self.readable = readable
        self.others = others
        self.host = host


class Cell:
    """What `enter` arranged.

    Args:
        orders: for this run.
        start: whether the program may start processes, because their number can be limited.
    """

    def __init__(self, orders: Orders, *, start: bool) -> None:
        self.orders = orders
        self.start = start and orders.processes > 1
        self.apart = orders.isolation >= FULL


def enter(orders: Orders) -> Cell:
    """Confine all processes of a run, as far as it concerns them all.

    Raises:
        OSError: the machine does not allow the level.
    """
    if sys.platform != "linux":
        return Cell(orders, start=False)
    from nanochat import _rustbpe

    _first_to_be_killed()
    user = _private_user(orders) if os.geteuid() == 0 else None
    if orders.isolation >= FULL:
        _rustbpe.jail_new_root(
            list(orders.readable),
            scratch=SCRATCH,
            bytes=orders.disk_bytes,
            files=SCRATCH_FILES,
            owner=os.geteuid() if user is None else user,
            own_user=not _may(CAP_SYS_ADMIN),
        )
    else:
        _rustbpe.jail_adopt_orphans()  # above, those of the program are the keeper's
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _rustbpe.jail_drop_capabilities()
    _rustbpe.jail_hide_memory()
    return Cell(orders, start=os.geteuid() != 0)  # the kernel counts no processes of root


def live_with_parent(signal: int) -> None:
    """Be sent a signal when the process that started this one is gone. Elsewhere than on Linux nothing happens."""
    if sys.platform == "linux":
        from nanochat import _rustbpe

        _rustbpe.jail_die_with_parent(signal)


def bind_program(cell: Cell) -> None:
    """Confine the process of the program."""
    orders = cell.orders
    os.environ.clear()
    os.environ.update(HOME=SCRATCH if cell.apart else "/", LC_ALL="C.UTF-8")
    os.chdir(SCRATCH if cell.apart else "/")
    _limit(resource.RLIMIT_FSIZE, orders.disk_bytes)
    if cell.start:
        _limit(resource.RLIMIT_NPROC, orders.others + OURS + orders.processes)
    elif sys.platform != "linux":
        _limit(resource.RLIMIT_NPROC, 1)
    _bind(cell, start=cell.start, write=cell.apart, signal=cell.apart, alone=True)


def bind_judge(cell: Cell) -> None:
    """Confine the process that judges: what it reads was made by the program."""
    _limit(resource.RLIMIT_FSIZE, 0)
    _bind(cell, start=False, write=False, signal=False, alone=False)  # its death must reach the keeper


def _bind(cell: Cell, *, start: bool, write: bool, signal: bool, alone: bool) -> None:
    orders = cell.orders
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    # a second between the two: at the hard limit the kernel kills without saying why
    _limit(resource.RLIMIT_CPU, int(orders.wall_s) + 2, beyond=1)
    for name, value in (
        ("RLIMIT_AS", orders.memory_bytes),
        ("RLIMIT_MEMLOCK", 0),
        ("RLIMIT_MSGQUEUE", 0),
        ("RLIMIT_NICE", 0),
        ("RLIMIT_RTPRIO", 0),
    ):
        if hasattr(resource, name) and (sys.platform == "linux" or name == "RLIMIT_MEMLOCK"):
            _limit(getattr(resource, name), value)
    if sys.platform != "linux" or orders.isolation < SYSCALLS:
        return
    from nanochat import _rustbpe

    if orders.isolation >= FILES:
        landlock = _rustbpe.jail_restrict_files(
            list(orders.readable), [SCRATCH, os.devnull] if write else [], alone=alone
        )
        if not landlock and not cell.apart:
            raise OSError("this kernel has no Landlock")
    _rustbpe.jail_restrict_calls(start=start, write=write, signal=signal)


def _limit(which: int, value: int, beyond: int = 0) -> None:
    """Limit a resource, for good at `beyond` more."""
    hard = resource.getrlimit(which)[1]
    last = value + beyond if hard == resource.RLIM_INFINITY else min(value + beyond, hard)
    resource.setrlimit(which, (min(value, last), last))


def _first_to_be_killed() -> None:
    """Where a machine runs out of memory, the kernel ends a sandbox before anything else."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        return  # no such file here: it was only a precaution


def _may(*capabilities: int) -> bool:
    """Whether this process has all of these."""
    with open("/proc/self/status") as file:
        effective = next((line.split()[1] for line in file if line.startswith("CapEff:")), "0")
    return all(int(effective, 16) >> capability & 1 for capability in capabilities)


def _private_user(orders: Orders) -> int | None:
    """A user number of its own for this run of root's; None when it could not read the library, or we cannot change."""
    if not _may(CAP_SETGID, CAP_SETUID) or not _others_read(os.__file__, whole=orders.isolation < FULL):
        return None
    with open("/proc/self/uid_map") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    for user in (PRIVATE_USERS + os.getpid(), LOW_PRIVATE_USERS + os.getpid() % 5000):
        if any(first <= user < first + count for first, _, count in ranges):
            return user
    return None


def _others_read(path: str, *, whole: bool) -> bool:
    """Whether any user reads a file, and with `whole` also finds it: its folders."""
    if not os.stat(path).st_mode & stat.S_IROTH:
        return False
    while whole and path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & stat.S_IXOTH:
            return False
    return True
