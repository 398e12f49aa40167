"""Settings of a batch job: times as SLURM writes them, and what no job can have."""

from __future__ import annotations

import pytest

from nanochat.config.slurm import SlurmConfig, time_limit_s
from nanochat.errors import UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90 * 60),
        ("30:15", 30 * 60 + 15),
        ("24:00:00", 24 * 3600),
        ("1:02:03", 3723),
        ("2-12", 60 * 3600),
        ("2-12:30", 60 * 3600 + 30 * 60),
        ("1-00:00:01", 86_401),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_times_as_slurm_reads_them(text: str, seconds: int | None) -> None:
    assert time_limit_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1h", "1:2:3:4", "-5", "1-", "24:00:00\n", "1.5"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time"):
        time_limit_s(text)


@pytest.mark.parametrize(
    ("gpus", "tasks", "per_node", "processes"),
    [(8, 0, 8, 16), (0, 0, 1, 2), (0, 3, 3, 6), (8, 4, 4, 8), (8, 1, 1, 16), (1, 0, 1, 2)],
)
def test_one_task_for_each_gpu(gpus: int, tasks: int, per_node: int, processes: int) -> None:
    config = SlurmConfig(nodes=2, gpus_per_node=gpus, tasks_per_node=tasks)
    assert (config.tasks, config.processes) == (per_node, processes)


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"nodes": 0}, "nodes (0) must be at least 1", "--nodes 1"),
        ({"gpus_per_node": -1}, "gpus_per_node (-1)", "--gpus-per-node 0"),
        ({"cpus_per_task": 0}, "cpus_per_task (0)", "--cpus-per-task 1"),
        ({"tasks_per_node": 9}, "tasks_per_node (9) must not be above gpus_per_node (8)", "--tasks-per-node"),
        ({"time": "2", "save_before": 120}, "below the time limit (2)", "--save-before 60"),
        ({"save_before": 65_536}, "65535", "--save-before"),
        ({"partition": "a\n#SBATCH --uid=0"}, "partition", "--partition"),
        ({"log": "a\nrm -r /"}, "log", "--log"),
        ({"sbatch": "mem 0"}, "'mem 0' is no option of sbatch", "--sbatch mem=0"),
        ({"sbatch": "mem=0\r"}, "", ""),
        ({"sbatch": "comment=a\x1bb"}, "is no option of sbatch", "--sbatch mem=0"),
        ({"sbatch": "--time=5"}, "--sbatch time would change", "use --time"),
        ({"sbatch": "signal=TERM@5"}, "--sbatch signal would change", "use --save-before"),
        ({"sbatch": "open-mode=truncate"}, "--sbatch open-mode would change", "leave it out"),
    ],
)
def test_what_no_job_can_have(settings: dict, message: str, hint: str) -> None:
    if not message:
        assert SlurmConfig(**settings).sbatch_options == ["mem=0"]
        return
    with pytest.raises(UsageError) as error:
        SlurmConfig(**settings)
    assert message in error.value.message
    assert hint in error.value.hint


def test_lines_of_files_and_of_flags_are_the_same() -> None:
    config = SlurmConfig(setup="module load cuda\nulimit -c 0", sbatch="\n --mem=0\nexclusive\ngres=nvme:1 \n")
    assert config.setup_lines == ["module load cuda", "ulimit -c 0"]
    assert config.sbatch_options == ["mem=0", "exclusive", "gres=nvme:1"]
