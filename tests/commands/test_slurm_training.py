"""A real training run under the stand-in for SLURM: prepared, stopped ahead of its time limit, queued again, done."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from cluster import Cluster, make_cluster, wait_until

from nanochat.checkpoints.layout import is_finished
from nanochat.runtime.events import read_events

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SLURM runs on Linux")

STEPS = 100
TRAIN = (
    "train base --tag toy --depth 1 --head-dim 32 --aspect-ratio 32 --sequence-len 64 --device-batch-size 2"
    f" --total-batch-size 256 --num-steps {STEPS} --eval-every 0 --save-every 0 --eval-tokens 512"
    " --device cpu --dtype float32 --compile off --threads 1"
).split()


def train_under_slurm(folder: Path, tasks: int, stop_at: int = 3) -> tuple[Cluster, Path]:
    """Prepare and train on so many processes of this machine, told once that the time runs out.

    Args:
        folder: an empty one, for everything.
        tasks: processes, which meet on localhost.
        stop_at: the step at which the signal is sent.

    Returns:
        The cluster when the job is over, and the folder of the stage.
    """
    cluster = make_cluster(folder, hosts="localhost")
    stage = folder / "base" / "models" / "toy" / "base"
    for line in (
        f"data pocket --size 300K --shard-size 100K --base-dir {folder}/base",
        f"tokenizer train --vocab-size 300 --base-dir {folder}/base",
        f"slurm --gpus-per-node 0 --tasks-per-node {tasks} --cpus-per-task 1 --venv none --output jobs"
        f" --base-dir {folder}/base {' '.join(TRAIN)}",
    ):
        done = cluster.run(sys.executable, "-m", "nanochat", *line.split())
        assert done.returncode == 0, done.stderr
    done = cluster.run("bash", "jobs/prepare.sh")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr

    def steps() -> int:
        log = stage / "events.jsonl"
        return sum(event["event"] == "StepDone" for event in read_events(log)) if log.exists() else 0

    with cluster.submitted("jobs/train.sbatch", limit_s=180):
        wait_until(lambda: steps() >= stop_at, seconds=90)
        cluster.signal_tasks(signal.SIGUSR1)
    return cluster, stage


@pytest.mark.slow
def test_a_training_run_of_two_tasks_goes_on_until_it_is_done(tmp_path: Path) -> None:
    tasks = 2
    cluster, stage = train_under_slurm(tmp_path, tasks)
    log = (tmp_path / "nanochat-toy-1001.log").read_text(encoding="utf-8")
    assert cluster.ends() == [(75, True), (0, False)], log
    assert [event["codes"] for event in cluster.events("step")] == [[75] * tasks, [0] * tasks]
    assert is_finished(stage)
    events = read_events(stage / "events.jsonl")
    steps = [event["step"] for event in events if event["event"] == "StepDone"]
    assert steps == list(range(1, STEPS + 1))  # none lost, none done twice
    first, second = [event for event in events if event["event"] == "StageStarted"]
    assert first["resumed_from"] is None
    assert f"stopped after step {second['resumed_from']} of {STEPS}" in log
