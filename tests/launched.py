"""Stand-ins for torchrun and for a rank, which start in a fraction of a second because they import no torch.

python launched.py torchrun NPROC WHAT FOLDER     starts ranks, ends and reports as torchrun does
python launched.py rank WHAT FOLDER               begins and parts as every rank does; in between, see `act`
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = str(Path(__file__).resolve())
SAVE_S = 0.4


def command(nproc: int, what: str, folder: Path, torchrun: str = "torchrun") -> list[str]:
    """The command line of the stand-in for torchrun."""
    return [sys.executable, HERE, torchrun, str(nproc), what, str(folder)]


def fork(nproc: int, what: str, folder: str) -> int:
    """Fork ranks that have loaded torch; rank 0 keeps their store."""
    import ranks
    import torch.distributed  # noqa: F401 - loaded here for all ranks

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for rank in range(nproc):
        if os.fork():
            continue
        os.setsid()
        where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "x"}
        os.environ.update({**where, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(nproc)})
        sys.argv = ["ranks.py", "probe", what, folder]
        ranks.run()
    return max(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(nproc))


def torchrun(nproc: int, what: str, folder: str) -> int:
    """Start the ranks in sessions of their own; at the first that fails send SIGTERM to the others, then report."""
    if what == "unreachable":
        print(
            "Traceback (most recent call last):\n  ...\ntorch.distributed.DistNetworkError: no answer", file=sys.stderr
        )
        return 1
    ranks = [
        subprocess.Popen(
            [sys.executable, HERE, "rank", what, folder],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(nproc), "TORCHELASTIC_RUN_ID": "x"},
            start_new_session=True,
        )
        for rank in range(nproc)
    ]
    while not (failed := [number for number, rank in enumerate(ranks) if rank.poll()]):
        if all(rank.poll() == 0 for rank in ranks):
            return 0
        time.sleep(0.1)
    for rank in ranks:
        if rank.poll() is None:
            rank.terminate()
    for number in sorted(range(nproc), key=lambda number: number in failed[:1]):
        if code := ranks[number].wait():
            cause = "Root Cause (first observed failure):\n" if number == failed[0] else ""
            told = (
                f"{cause}  rank      : {number} (local_rank: {number})\n  exitcode  : {code} (pid: {ranks[number].pid})"
            )
            print(told, file=sys.stderr)
    return 1


def rank(what: str, folder: Path) -> None:
    """One of the ranks."""
    from nanochat.runtime.launch.ending import Ending
    from nanochat.runtime.launch.worker import begin, ending_of, part
    from nanochat.runtime.stop import StopRequest

    number = int(os.environ["RANK"])
    if what == "stillborn" and number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    begin(os.environ)
    if what == "stillborn":
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)  # as torchrun does with one that waits for the other
    ending = Ending()
    print(f"rank {number} prints", flush=True)
    print(f"rank {number} tells", file=sys.stderr, flush=True)
    with StopRequest() as stop:
        (folder / f"{number}.joined").write_text(str(os.getpid()))
        while len(list(folder.glob("*.joined"))) < int(os.environ["WORLD_SIZE"]):
            time.sleep(0.01)
        try:
            ending = act(what, number, folder, stop)
        except Exception as error:
            ending = ending_of(error)
    sys.exit(part(os.environ, ending))


def act(what: str, number: int, folder: Path, stop: object) -> object:
    """What happens in a rank."""
    from nanochat.runtime.launch.ending import Ending
    from nanochat.runtime.launch.worker import _show

    if what == "done":
        return Ending()
    if number == 1:
        if what == "error":
            return Ending(exit_code=5, message="the losses are not numbers", hint="lower them")
        if what == "bug":
            raise ValueError("a bug")
        if what in ("killed", "torn"):
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "stopped":
            _show(os.environ)
            os.kill(os.getpid(), signal.SIGSTOP)
    elif what == "torn":
        raise RuntimeError(
            "[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:1. This is typically x"
        )
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if what == "deaf":
            time.sleep(0.05)
        elif stop.requested:  # type: ignore[attr-defined]
            if number == 0:
                time.sleep(SAVE_S)
                (folder / "saved").touch()
            return Ending(exit_code=75, message="stopped, all is saved", hint="again")
        time.sleep(0.01)
    raise AssertionError("nobody has ended this rank")


if __name__ == "__main__":
    if sys.argv[1] == "torchrun":
        sys.exit(torchrun(int(sys.argv[2]), *sys.argv[3:]))
    if sys.argv[1] == "fork":
        sys.exit(fork(int(sys.argv[2]), *sys.argv[3:]))
    rank(sys.argv[2], Path(sys.argv[3]))
