"""Whether a command runs here or in several processes: every case of the table."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.errors import UsageError
from nanochat.runtime.launch.decide import Asked, Here, Torchrun, decide
from nanochat.runtime.launch.slurm import first_host, slurm_task, tasks_per_node

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
BATCH = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "gpu[01-02]"}
TASKS = {
    **BATCH,
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_TASKS_PER_NODE": "4,3",
    "SLURM_STEP_NODELIST": "gpu[03,05]",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}
RANK = {
    "RANK": "5",
    "WORLD_SIZE": "7",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "3",
    "MASTER_ADDR": "gpu03",
    "MASTER_PORT": "10007",
}
NODES = {**TASKS, "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "1"}
SECOND = Asked(nnodes=2, node_rank=1, endpoint="gpu01:1234")


@pytest.mark.parametrize(
    ("asked", "environ", "device", "gpus", "expected"),
    [
        # this machine alone
        (Asked(), {}, "auto", 0, Here()),
        (Asked(), {}, "auto", 1, Here()),
        (Asked(), {}, "auto", 8, Torchrun(nproc=8)),
        (Asked(), {}, "cuda", 8, Torchrun(nproc=8)),
        (Asked(), {}, "cuda", 0, Here()),
        (Asked(), {}, "cpu", 8, Here()),
        (Asked(nproc=1), {}, "auto", 8, Here()),
        (Asked(nproc=4), {}, "auto", 8, Torchrun(nproc=4)),
        (Asked(nproc=4), {}, "auto", 0, Torchrun(nproc=4)),
        (Asked(nproc=4), {}, "cpu", 2, Torchrun(nproc=4)),
        # one of several already
        (Asked(), TORCHRUN, "auto", 8, Here()),
        (Asked(nproc=2), TORCHRUN, "auto", 8, Here()),
        (SECOND, TORCHRUN, "auto", 8, Here()),
        (Asked(), {**TASKS, **TORCHRUN}, "auto", 8, Here()),
        # several machines
        (SECOND, {}, "auto", 8, Torchrun(nproc=8, nnodes=2, node_rank=1, endpoint="gpu01:1234")),
        (SECOND, {}, "cpu", 0, Torchrun(nproc=1, nnodes=2, node_rank=1, endpoint="gpu01:1234")),
        (
            Asked(nnodes=2, node_rank=0, endpoint="gpu01"),
            {},
            "cpu",
            0,
            Torchrun(nproc=1, nnodes=2, endpoint="gpu01:29500"),
        ),
        (Asked(nnodes=1, nproc=2), {}, "cpu", 0, Torchrun(nproc=2)),
        # SLURM
        (Asked(), BATCH, "auto", 8, Torchrun(nproc=8)),
        (Asked(), BATCH, "cpu", 0, Here()),
        (Asked(), {**BATCH, "SLURM_STEP_NUM_TASKS": "1"}, "auto", 8, Torchrun(nproc=8)),
        (Asked(), TASKS, "auto", 8, Here(environ=RANK)),
        (
            Asked(),
            {**TASKS, "MASTER_PORT": "99"},
            "auto",
            8,
            Here(environ={k: v for k, v in RANK.items() if k[7:] != "PORT"}),
        ),
        (Asked(), NODES, "auto", 8, Torchrun(nproc=8, nnodes=2, node_rank=1, endpoint="gpu03:10007")),
        (Asked(nproc=2), NODES, "cpu", 0, Torchrun(nproc=2, nnodes=2, node_rank=1, endpoint="gpu03:10007")),
        (
            Asked(nproc=1),
            NODES,
            "auto",
            8,
            Here(environ={**RANK, "RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}),
        ),
    ],
)
def test_table(asked: Asked, environ: Mapping[str, str], device: str, gpus: int, expected: Here | Torchrun) -> None:
    assert decide(asked, environ, device, lambda: gpus) == expected


@pytest.mark.parametrize(
    ("asked", "environ", "device", "gpus", "message", "hint"),
    [
        (Asked(nproc=3), TORCHRUN, "auto", 0, "one of 2 processes here", "leave --nproc out"),
        (Asked(nproc=4), {}, "cuda", 2, "2 can be seen here", "--nproc 2"),
        (Asked(nproc=4), {}, "auto", 2, "2 can be seen here", "--device cpu"),
        (Asked(nproc=4), {}, "cuda", 0, "'cuda' is not available", "--device cpu"),
        (Asked(nproc=4), {}, "mps", 0, "on mps", "--nproc 1"),
        (Asked(nnodes=2), {}, "cpu", 0, "needs --rdzv-endpoint", "--node-rank 0 --rdzv-endpoint"),
        (Asked(nnodes=2, endpoint="a:1"), {}, "cpu", 0, "needs --node-rank", "--node-rank 1, 2"),
        (Asked(nnodes=2, node_rank=2, endpoint="a:1"), {}, "cpu", 0, "not one of 2 machines", "0 to 1"),
        (Asked(nnodes=2, node_rank=0, endpoint="a:b"), {}, "cpu", 0, "not HOST:PORT", "gpu01:29500"),
        (Asked(nnodes=2, node_rank=0, endpoint=":80"), {}, "cpu", 0, "not HOST:PORT", "gpu01:29500"),
        (Asked(nnodes=2, node_rank=0, endpoint="a:70000"), {}, "cpu", 0, "not HOST:PORT", "gpu01:29500"),
        (Asked(node_rank=0), {}, "cpu", 0, "--node-rank is for several", "--nnodes"),
        (Asked(endpoint="a:1"), {}, "cpu", 0, "--rdzv-endpoint is for several", "--nnodes"),
        (Asked(), {**TASKS, "SLURM_STEP_TASKS_PER_NODE": "x"}, "cpu", 0, "'x' is no number", "srun env"),
        (Asked(), {**TASKS, "SLURM_NODEID": "5"}, "cpu", 0, "make no sense", "srun env"),
    ],
)
def test_refused(asked: Asked, environ: Mapping[str, str], device: str, gpus: int, message: str, hint: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        decide(asked, environ, device, lambda: gpus)
    assert hint in caught.value.hint


@pytest.mark.parametrize(("asked", "device"), [(Asked(), "cpu"), (Asked(nproc=4), "cpu"), (Asked(nproc=1), "auto")])
def test_gpus_are_counted_only_where_it_matters(asked: Asked, device: str) -> None:
    def count() -> int:
        raise AssertionError("counting imports torch")

    decide(asked, {}, device, count)


def test_the_command_lines() -> None:
    words = ["train", "base", "--depth", "4"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "8"]
    rest = ["--max-restarts", "0", "-m", "--", "nanochat", *words]
    assert Torchrun(nproc=8).command(words) == [*torchrun, "--standalone", *rest]
    several = Torchrun(nproc=8, nnodes=2, node_rank=1, endpoint="gpu01:1234").command(words)
    where = ["--nnodes", "2", "--node-rank", "1", "--rdzv-backend", "static", "--rdzv-endpoint", "gpu01:1234"]
    assert several == [*torchrun, *where, *rest]


def test_torchrun_takes_the_words_for_ours() -> None:
    from torch.distributed.run import get_args_parser

    words = [
        "train",
        "base",
        "--nproc",
        "2",
        "--nnodes=2",
        "--node-rank",
        "1",
        "--rdzv-endpoint",
        "a:1",
        "-m",
        "--run",
        "x",
    ]
    decision = Torchrun(nproc=2, nnodes=2, node_rank=1, endpoint="gpu01:1234")
    parsed = get_args_parser().parse_args(decision.command(words)[3:])
    assert (parsed.training_script, parsed.training_script_args, parsed.module) == ("nanochat", words, True)
    assert (parsed.nproc_per_node, parsed.nnodes, parsed.node_rank) == ("2", "2", 1)
    assert (parsed.rdzv_backend, parsed.rdzv_endpoint, parsed.max_restarts) == ("static", "gpu01:1234", 0)


# SLURM's notations


def test_tasks_per_node() -> None:
    assert tasks_per_node("4(x2),3") == [4, 4, 3]
    assert tasks_per_node("1") == [1]
    for wrong in ("", "4(x", "4,", "a(x2)"):
        with pytest.raises(ValueError, match="is no number of tasks"):
            tasks_per_node(wrong)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu01", "gpu01"),
        ("gpu[01-03,07]", "gpu01"),
        ("gpu[07,01-03],cpu[1-2]", "gpu07"),
        ("login,gpu[01-03]", "login"),
        ("r[1-2]n[3-4].site", "r1n3.site"),
        ("a-b[009-011]-ib", "a-b009-ib"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


RANGES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=3)
GROUPS = st.lists(
    st.tuples(st.sampled_from(["gpu", "a-b", "n1x"]), st.lists(RANGES, max_size=2)), min_size=1, max_size=3
)


@given(GROUPS, st.integers(1, 3))
def test_first_host_is_the_first_of_the_whole_list(
    groups: list[tuple[str, list[list[tuple[int, int]]]]], digits: int
) -> None:
    texts, hosts = [], []
    for prefix, brackets in groups:
        names = []
        text = prefix
        for ranges in brackets:
            parts = [
                f"{low:0{digits}}" if not more else f"{low:0{digits}}-{low + more:0{digits}}" for low, more in ranges
            ]
            text += f"[{','.join(parts)}]"
            names.append([f"{number:0{digits}}" for low, more in ranges for number in range(low, low + more + 1)])
        texts.append(text)
        hosts += ["".join((prefix, *combination)) for combination in itertools.product(*names)]
    assert first_host(",".join(texts)) == hosts[0]


def test_steps_of_a_job_meet_at_ports_of_their_own() -> None:
    ports = set()
    for step in range(5):
        task = slurm_task({**TASKS, "SLURM_STEP_ID": str(step)})
        assert task is not None
        ports.add(task.port)
    assert len(ports) == 5
    assert all(1024 < port < 32_768 for port in ports)
