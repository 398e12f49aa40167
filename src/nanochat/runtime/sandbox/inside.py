"""The processes of one run, all forked from one interpreter:

    judge      reads the orders, confines itself and its children, starts the keeper, decides, and reports
    keeper     starts the program's process and waits for it; the first process of its own numbering, so that everything
               the program started ends with it
    program    runs the program

The check arrives after the program's process was forked: it is nowhere in that one's memory.
"""

from __future__ import annotations

import marshal
import os
import select
import sys

from nanochat.runtime.sandbox import candidate, confine
from nanochat.runtime.sandbox.judge import ended, judge, loading
from nanochat.runtime.sandbox.peer import Peer
from nanochat.runtime.sandbox.verdicts import FAILED, INFRASTRUCTURE, PASSED
from nanochat.runtime.sandbox.wire import LENGTH_BYTES, Broken, Gone, exactly

TYPE_CHECKING = False  # `typing` takes long to import, see `verdicts`
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from nanochat.runtime.sandbox.verdicts import Verdict

ORDERS = 0
"""Descriptor from which orders and check are read."""
STARTED = "started"
"""The first line of a report; the second is the verdict."""
SIGKILL, SIGTERM = 9, 15  # the same everywhere; `signal` takes long to import
ENDED_S = 10.0
"""How long the judge waits to be ended; the process outside does it at once."""
LEAVING_S = 0.2
"""How long a process may take to end that has closed its connection."""


def main() -> NoReturn:
    """Do one run. `sys.argv[1]` is the descriptor to report to."""
    report = int(sys.argv[1])
    sys.dont_write_bytecode = True  # from here on: our own modules may be kept, what a program imports may not
    try:
        _main(report)
    except Exception as error:
        _tell(report, INFRASTRUCTURE, f"{type(error).__name__}: {error}")
    os._exit(0)


def _main(report: int) -> None:
    orders = confine.Orders(**_order())
    cell = confine.enter(orders)
    confine.live_with_parent(SIGKILL)
    if os.getppid() not in (orders.host, 0):  # 0: it lives in another numbering
        os._exit(1)
    calls, answers, status = os.pipe(), os.pipe(), os.pipe()
    if os.fork() == 0:
        for descriptor in (report, calls[1], answers[0], status[0]):
            os.close(descriptor)
        _keep(cell, calls[0], answers[1], status[1])
    for descriptor in (calls[0], answers[1], status[1]):
        os.close(descriptor)
    if not cell.apart:
        import signal

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the program's orphans, which are ours
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    peer = Peer(answers[0], calls[1], allowed=("call",), exports=False, ended=status[0])
    check = _order() if orders.judged else ""
    confine.bind_judge(cell)
    try:
        first = peer.receive()
    except (Gone, Broken):
        first = ("nothing",)
    if first[0] != "ready":
        raise RuntimeError(f"the program could not be confined: {first[-1]}")
    _tell(report, STARTED, "")
    _tell(report, *_verdict(peer, check if orders.judged else None, status[0]))
    if not cell.apart:
        select.select([], [], [], ENDED_S)  # what the program left behind is found through us, so we are ended last


def _verdict(peer: Peer, check: str | None, status: int) -> Verdict:
    try:
        if check is None:
            return _script(peer, status)
        return loading(peer) or judge(peer, check)
    except Gone:
        return ended(_status(status, LEAVING_S))
    except Broken as broken:
        return FAILED, f"the program answered what is no answer: {broken}"
    except Exception as error:  # whatever its words led to is its doing, and no fault of the machine
        return FAILED, f"the program answered what could not be judged: {type(error).__name__}"


def _script(peer: Peer, status: int) -> Verdict:
    """A program that nobody checks has passed when it ended well."""
    failure = None
    try:
        failure = loading(peer)
    except (Gone, Broken):
        pass
    end = _status(status, None)
    if end == 0 and failure is None:
        return PASSED, ""
    return failure or ended(end)


def _status(descriptor: int, timeout_s: float | None) -> int | None:
    """What the keeper says of the program's end; None when it says nothing."""
    if not select.select([descriptor], [], [], timeout_s)[0]:
        return None
    text = os.read(descriptor, 16)
    return int(text) if text else SIGKILL  # the keeper itself was ended


def _keep(cell: confine.Cell, calls: int, answers: int, status: int) -> NoReturn:
    """The keeper's life."""
    confine.live_with_parent(SIGKILL if cell.apart else SIGTERM)
    if not cell.apart:
        import signal

        signal.signal(SIGTERM, lambda *_: os.killpg(0, SIGKILL))
    source, feed = os.pipe()
    program = os.fork()
    if program == 0:
        if not cell.apart:
            signal.signal(SIGTERM, signal.SIG_DFL)
        os.close(status)
        os.close(feed)
        os.dup2(source, ORDERS)  # which is stdin
        os.close(source)
        _run(cell, calls, answers)
    for descriptor in (ORDERS, calls, answers, source, 1, 2):
        os.close(descriptor)
    _feed(feed, cell.orders.stdin.encode("utf-8", "surrogatepass"))
    while True:
        ended_pid, end = os.wait()  # also orphans of the program, which are ours
        if ended_pid == program:
            os.write(status, str(end).encode())
            os._exit(0)


def _feed(descriptor: int, text: bytes) -> None:
    view = memoryview(text)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        pass  # the program reads no more
    os.close(descriptor)


def _run(cell: confine.Cell, calls: int, answers: int) -> NoReturn:
    """The program's process."""
    orders = cell.orders
    try:
        confine.bind_program(cell)
    except Exception as error:
        Peer(calls, answers, allowed=(), exports=False).send("unconfined", f"{type(error).__name__}: {error}")
        os._exit(1)
    sys.exit(candidate.run(orders.program, calls, answers, judged=orders.judged))


def _order() -> Any:
    """The next object from outside, which is trusted."""
    try:
        length = int.from_bytes(exactly(ORDERS, LENGTH_BYTES), "big")
        return marshal.loads(exactly(ORDERS, length))
    except Gone:
        os._exit(1)  # nobody is left to report to


def _tell(report: int, word: str, detail: str) -> None:
    line = f"{word}: {' '.join(detail.split())}\n"
    os.write(report, line.encode("utf-8", "replace"))
