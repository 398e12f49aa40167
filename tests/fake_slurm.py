"""A stand-in for the programs of SLURM, on this machine: `python fake_slurm.py sbatch|srun|scontrol WORDS`.

It does what our scripts rely on: sbatch copies the script, reads its #SBATCH lines and runs it; srun starts one process
a task, passes SIGUSR1 to them and kills them when it gets SIGTERM, ends the others after one has left (with a code:
SIGTERM, then SIGKILL, unless it is told not to; `--wait` seconds after any: SIGKILL), and leaves with the highest code,
or 128 + signal when one was killed; scontrol requeue ends the script and lets it begin again. Unlike the real one,
sbatch returns only when the job is over.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["FAKE_SLURM_STATE"])
KILL_WAIT_S = 30.0
WAIT_S = float(os.environ.get("FAKE_SLURM_WAIT", "inf"))  # tests have less patience than `--wait` says
JOB_ID = "1001"


def note(**values: object) -> None:
    """A line of the log that tests read."""
    with (STATE / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def options_of(words: list[str]) -> tuple[dict[str, str], list[str]]:
    """Leading `--key=value` options, and the rest."""
    options = {}
    while words and words[0].startswith("--"):
        key, _, value = words[0].removeprefix("--").partition("=")
        options[key] = value
        words = words[1:]
    return options, words


def sbatch(words: list[str]) -> int:
    (path,) = words
    text = Path(path).read_text(encoding="utf-8")
    lines = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            break
        if line.startswith("#SBATCH "):
            lines += shlex.split(line.removeprefix("#SBATCH "))
    options, rest = options_of(lines)
    assert not rest, rest
    script = STATE / "slurm_script"
    script.write_text(text, encoding="utf-8")
    log = Path(options["output"].replace("%x", options["job-name"]).replace("%j", JOB_ID))
    print(f"Submitted batch job {JOB_ID}", flush=True)
    environ = {
        **os.environ,
        "SLURM_JOB_ID": JOB_ID,
        "SLURM_JOB_NUM_NODES": options["nodes"],
        "SLURM_NTASKS_PER_NODE": options["ntasks-per-node"],
        "SLURM_CPUS_PER_TASK": options["cpus-per-task"],
        "SLURM_SUBMIT_DIR": str(Path.cwd()),
    }
    restarts = 0
    while True:
        (STATE / "requeue").unlink(missing_ok=True)
        if restarts:
            environ["SLURM_RESTART_COUNT"] = str(restarts)
        mode = "ab" if options.get("open-mode") == "append" else "wb"
        with log.open(mode) as output:
            batch = subprocess.Popen(
                ["bash", script], env=environ, stdout=output, stderr=output, stdin=subprocess.DEVNULL
            )
            (STATE / "batch.pid").write_text(str(batch.pid))
            code = batch.wait()
        requeued = (STATE / "requeue").exists()
        note(event="end", code=code, requeued=requeued, options=options)
        if not requeued:
            return 0
        assert "requeue" in options, "this job cannot be queued again"
        restarts += 1


def scontrol(words: list[str]) -> int:
    note(event="scontrol", words=words)
    if os.environ.get("FAKE_SLURM_REFUSES_REQUEUE"):
        print("slurm_requeue error: Requested operation is presently disabled", file=sys.stderr)
        return 1
    assert words == ["requeue", JOB_ID]
    (STATE / "requeue").touch()
    os.kill(int((STATE / "batch.pid").read_text()), signal.SIGTERM)  # requeueing ends what still runs of the job
    return 0


def srun(words: list[str]) -> int:
    options, command = options_of(words)
    nodes = int(os.environ["SLURM_JOB_NUM_NODES"])
    per_node = int(os.environ["SLURM_NTASKS_PER_NODE"])
    # two nodes of this machine have to be found by their names when processes really meet
    hosts = os.environ.get("FAKE_SLURM_HOSTS", ",".join(f"node{number}" for number in range(1, nodes + 1)))
    tasks: list[subprocess.Popen[bytes]] = []
    for rank in range(nodes * per_node):
        environ = {
            **os.environ,
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank % per_node),
            "SLURM_NODEID": str(rank // per_node),
            "SLURM_STEP_ID": "0",
            "SLURM_STEP_NUM_TASKS": str(nodes * per_node),
            "SLURM_STEP_NUM_NODES": str(nodes),
            "SLURM_STEP_TASKS_PER_NODE": f"{per_node}(x{nodes})" if nodes > 1 else str(per_node),
            "SLURM_STEP_NODELIST": hosts,
            "SLURM_CPUS_PER_TASK": options["cpus-per-task"],
        }
        tasks.append(subprocess.Popen(command, env=environ, start_new_session=True, stdin=subprocess.DEVNULL))
    (STATE / "tasks").write_text("\n".join(str(task.pid) for task in tasks))
    note(event="srun", options=options, command=command, hf_hub_offline=os.environ.get("HF_HUB_OFFLINE"))

    def send(number: int) -> None:
        for task in tasks:
            if task.returncode is None:
                task.send_signal(number)

    signal.signal(signal.SIGUSR1, lambda number, frame: send(number))
    signal.signal(signal.SIGTERM, lambda number, frame: send(signal.SIGKILL))
    kills = options.get("kill-on-bad-exit", "1") == "1"  # a cluster may have it on
    never = float("inf")
    deadline = never
    wait_s = min(float(options.get("wait") or never), WAIT_S)
    seen: set[int] = set()
    while len(seen) < len(tasks):
        for rank, task in enumerate(tasks):
            if rank in seen or task.poll() is None:
                continue
            seen.add(rank)
            deadline = min(deadline, time.monotonic() + wait_s)
            if task.returncode:
                print(f"srun: error: task {rank}: Exited with exit code {task.returncode}", file=sys.stderr, flush=True)
                if kills:
                    kills = False
                    send(signal.SIGTERM)
                    deadline = min(deadline, time.monotonic() + KILL_WAIT_S)
        if time.monotonic() > deadline:
            send(signal.SIGKILL)
        time.sleep(0.01)
    codes = [task.returncode for task in tasks]
    note(event="step", codes=codes)
    killed = [-code for code in codes if code < 0]
    return 128 + max(killed) if killed else max(codes)


if __name__ == "__main__":
    sys.exit({"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[sys.argv[1]](sys.argv[2:]))
