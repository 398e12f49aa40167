"""A cluster of this machine: `sbatch`, `srun` and `scontrol` of `fake_slurm` first on PATH, and a `nanochat`.

cluster = make_cluster(tmp_path)                        # its `nanochat` is `python -m nanochat`
cluster.environ["NANOCHAT_BASE_DIR"] = str(tmp_path / "base")
cluster.run("bash", "prepare.sh")
with cluster.submitted("train.sbatch") as job:          # two tasks on localhost, as the script says
    cluster.wait_for_tasks()
    cluster.signal_tasks(signal.SIGUSR1)                # what SLURM does ahead of the time limit
assert cluster.ends() == [(75, True), (0, False)]       # (exit code, queued again) of each start
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = ("sbatch", "srun", "scontrol")


@dataclass(frozen=True)
class Cluster:
    """Where the fake programs keep what they know, and the environment in which they are found.

    Jobs run in `folder`, as if they had been submitted there.
    """

    folder: Path
    state: Path
    environ: dict[str, str]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=120)

    @contextlib.contextmanager
    def submitted(self, script: str, limit_s: float = 60) -> Iterator[subprocess.Popen[str]]:
        """A job while it runs; leaving the block waits for its end. No process of it is left behind."""
        job = subprocess.Popen(["sbatch", script], cwd=self.folder, env=self.environ, text=True, start_new_session=True)
        try:
            yield job
            job.wait(limit_s)
        finally:
            for pid in self.task_pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()

    def events(self, kind: str) -> list[dict[str, Any]]:
        log = self.state / "log.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def ends(self) -> list[tuple[int, bool]]:
        """(exit code, whether it was queued again) of each start of the job's script."""
        return [(event["code"], event["requeued"]) for event in self.events("end")]

    def task_pids(self) -> list[int]:
        file = self.state / "tasks"
        return [int(pid) for pid in file.read_text().split()] if file.exists() else []

    def signal_tasks(self, number: int) -> None:
        """To the tasks and nothing else, as SLURM signals a step."""
        for pid in self.task_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def cancel(self) -> None:
        """As scancel: SIGTERM to the tasks and to the script."""
        self.signal_tasks(signal.SIGTERM)
        os.kill(int((self.state / "batch.pid").read_text()), signal.SIGTERM)


def make_cluster(
    folder: Path, nanochat: str = "", wait_s: float = 300, hosts: str = "", refuses_requeue: bool = False
) -> Cluster:
    """A cluster whose programs, state and jobs are in `folder`.

    Args:
        folder: an empty one.
        nanochat: a Python program that stands in for `nanochat`; by default the real one.
        wait_s: how long srun waits for the others at most when a task has left.
        hosts: names of the nodes; `localhost` where processes are really to meet.
        refuses_requeue: `scontrol requeue` fails.
    """
    programs, state = folder / "bin", folder / "state"
    programs.mkdir(parents=True)
    state.mkdir()
    fake = Path(__file__).parent / "fake_slurm.py"
    for name in PROGRAMS:
        _executable(programs / name, f'exec "{sys.executable}" -S -E "{fake}" {name} "$@"')
    if nanochat:
        (programs / "nanochat.py").write_text(nanochat, encoding="utf-8")
        _executable(programs / "nanochat", f'exec "{sys.executable}" -S -E "{programs}/nanochat.py" "$@"')
    else:
        _executable(programs / "nanochat", f'exec "{sys.executable}" -m nanochat "$@"')
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "NANOCHAT_"))},
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "FAKE_SLURM_STATE": str(state),
        "FAKE_SLURM_WAIT": str(wait_s),
        **({"FAKE_SLURM_HOSTS": hosts} if hosts else {}),
        **({"FAKE_SLURM_REFUSES_REQUEUE": "1"} if refuses_requeue else {}),
    }
    return Cluster(folder, state, environ)


def wait_until(holds: Any, seconds: float = 30) -> None:
    """Look until it holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def _executable(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)
