"""`nanochat slurm`: words of another command are checked as that one would, then scripts are written or submitted."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cluster import make_cluster

from nanochat import cli
from nanochat.cli import main
from nanochat.commands.slurm import slurm

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SLURM runs on Linux")

SMALL = ("--depth", "2", "--sequence-len", "64", "--device-batch-size", "2", "--total-batch-size", "256")


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the person who runs the tests, and a folder with blanks and quotes."""
    for name in [name for name in os.environ if name.startswith("NANOCHAT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no-config"))
    (tmp_path / "it's here").mkdir()
    monkeypatch.chdir(tmp_path / "it's here")


def written(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["slurm", "--venv", "none", *words]) == 0
    return capsys.readouterr().out


def srun_words(text: str) -> list[str]:
    """The command on the compute nodes."""
    return shlex.split(text.partition("srun ")[2].partition("\\\n")[2].partition(" || code")[0])


@pytest.mark.parametrize(
    "words",
    [
        "train",
        "train bas",
        "train base --dept 3",
        "train base --depth x",
        "train base --depth",
        "train base extra",
        "train base --keep 0",
        "train base --head-dim 7",
        "train base --config not-there.toml",
        "train base --data a:0",
        "train mid --conversations 0",
        "train sft --data ,",
        "speedrun d2000",
        "eval",
        "eval chat --max-problems 0",
        "eval chat a b",
    ],
)
def test_the_other_command_is_checked_with_its_own_words(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(words.split())
    said = capsys.readouterr()
    assert code == 2
    assert main(["slurm", *words.split()]) == 2
    assert capsys.readouterr() == said


def test_settings_of_files_and_of_the_environment_are_checked_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NANOCHAT_TRAIN_BASE_KEEP", "0")
    assert main(["slurm", "train", "base"]) == 2
    assert "keep = 0 comes from NANOCHAT_TRAIN_BASE_KEEP" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("chat", "error: a job cannot run 'chat'"),
        ("slurm train base", "error: a job cannot run 'slurm'"),
        ("train base --dry-run", "error: --dry-run needs no job\nhint: run nanochat train base --dry-run here"),
        ("--submit train base", "error: --submit needs a folder for the scripts\nhint: add --output DIR"),
        ("--nodes 0 train base", "error: nodes (0) must be at least 1"),
        ("--sbatch time=5 train base", "error: --sbatch time would change"),
        ("--time 1h train base", "error: --time: expected a time such as 90 (minutes)"),
        ("", "error: COMMAND is not given"),
    ],
)
def test_what_no_job_can_be(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slurm", *words.split()]) == 2
    assert capsys.readouterr().err.startswith(said)


def test_processes_are_started_by_slurm(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    probe = click.Command("base", callback=lambda nproc: None, params=[click.Option(["--nproc"])])
    monkeypatch.setattr(sys.modules[__name__], "PROBE", probe, raising=False)
    monkeypatch.setitem(sys.modules, "probe_module", sys.modules[__name__])
    monkeypatch.setitem(cli.COMMANDS, "train base", ("probe_module:PROBE", "Try something."))
    assert main(["slurm", "train", "base", "--nproc", "4"]) == 2
    assert capsys.readouterr().err.startswith(
        "error: in a job SLURM starts the processes, not --nproc\nhint: use --nodes"
    )


def test_words_reach_the_compute_nodes_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "base", *SMALL, "--run", 'it\'s\n"5" $HOME', "--tag", "t"]
    assert srun_words(written(capsys, "--gpus-per-node", "2", *words)) == ["nanochat", *words]
    dashes = ["--nodes", "1", "--gpus-per-node", "0", "--", "speedrun", "--", "--scale", "0.5"]
    assert srun_words(written(capsys, *dashes)) == ["nanochat", "speedrun", "--scale", "0.5"]


def test_help_of_the_other_command_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slurm", "train", "base", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: nanochat train base")


def test_the_base_folder_is_carried_over(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--gpus-per-node", "0", "train", "base", *SMALL]
    assert "NANOCHAT_BASE_DIR" not in written(capsys, *words)
    monkeypatch.setenv("NANOCHAT_BASE_DIR", "/scratch/my models")
    assert written(capsys, *words).count("export NANOCHAT_BASE_DIR='/scratch/my models'\n") == 2
    assert written(capsys, "--base-dir", "/flag", *words).count("export NANOCHAT_BASE_DIR=/flag\n") == 2
    inner = written(capsys, "--base-dir", "/flag", *words, "--base-dir", "near")
    here = shlex.quote(f"NANOCHAT_BASE_DIR={Path.cwd()}/near".partition("=")[2])
    assert inner.count(f"export NANOCHAT_BASE_DIR={here}\n") == 2


def test_a_cluster_is_described_once_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("nanochat.toml").write_text(
        '[slurm]\npartition = "gpu"\nsetup = """\nmodule purge\nmodule load cuda"""\nsbatch = "mem=0"\n'
    )
    text = written(capsys, "--setup", "ulimit -c 0", "--sbatch", "--exclusive", "train", "base")
    assert text.count("module purge\nmodule load cuda\nulimit -c 0\n") == 2
    assert "#SBATCH --partition=gpu\n" in text
    assert "#SBATCH --mem=0\n#SBATCH --exclusive\n" in text


def test_the_environment_of_this_command_is_activated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a venv" / "bin").mkdir(parents=True)
    (tmp_path / "a venv" / "bin" / "activate").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "a venv"))
    assert main(["slurm", "train", "base"]) == 0
    assert capsys.readouterr().out.count(f"source '{tmp_path}/a venv/bin/activate'\n") == 2
    assert main(["slurm", "--venv", "~/mine", "train", "base"]) == 0
    assert f"source {Path.home()}/mine/bin/activate\n" in capsys.readouterr().out
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert main(["slurm", "train", "base"]) == 0
    assert "activate" not in capsys.readouterr().out


def test_files_are_written_and_edited_ones_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["slurm", "--venv", "none", "--output", "my jobs", "train", "base"]
    for _ in range(2):  # the same again is no change
        assert main(words) == 0
        said = capsys.readouterr()
        assert said.out == "my jobs/prepare.sh\nmy jobs/train.sbatch\n"
        assert said.err == "Next:  bash 'my jobs/prepare.sh' && sbatch 'my jobs/train.sbatch'\n"
    script = Path("my jobs/train.sbatch")
    script.write_text("mine")
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(words) == 2
    assert "Replace train.sbatch in my jobs?" in capsys.readouterr().err
    assert script.read_text() == "mine"
    assert main([words[0], "--yes", *words[1:]]) == 0
    assert "srun" in script.read_text()


STAND_IN = """
import os, sys
from pathlib import Path
words, folder = sys.argv[1:], Path(os.environ["STAND_IN"])
with (folder / "calls").open("a") as file:
    file.write(" ".join([os.environ.get("SLURM_PROCID", "-"), *words[:2]]) + "\\n")
if words[1] in ("show", "encode"):
    sys.exit(3)
sys.exit(int(os.environ.get("STAND_IN_CODE", 0)) if "SLURM_PROCID" not in os.environ else 0)
"""


@pytest.mark.parametrize(
    ("code", "ends", "said"),
    [
        (0, 0, ""),
        (3, 1, "error: bash 'my jobs/prepare.sh' ended with code 3; nothing was submitted"),
        (75, 75, "error: bash 'my jobs/prepare.sh' was stopped; nothing was submitted"),
    ],
)
def test_submitting(code: int, ends: int, said: str, tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path / "cluster", STAND_IN)
    environ = {**cluster.environ, "STAND_IN": str(tmp_path), "STAND_IN_CODE": str(code)}
    done = subprocess.run(
        [sys.executable, "-m", "nanochat", "slurm", "--gpus-per-node", "0", "--tasks-per-node", "2", "--venv", "none"]
        + ["--submit", "--output", "my jobs", "train", "base", *SMALL],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr.partition("\n")[0]) == (ends, said)
    calls = (tmp_path / "calls").read_text().splitlines()
    if code:
        assert calls == ["- data show", "- data pocket"]
        return
    assert calls[:4] == ["- data show", "- data pocket", "- tokenizer encode", "- tokenizer train"]
    assert sorted(calls[4:]) == ["0 train base", "1 train base"]
    assert done.stdout == "my jobs/prepare.sh\nmy jobs/train.sbatch\nSubmitted batch job 1001\n"
    assert cluster.ends() == [(0, False)]


PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", re.findall(r"^nanochat slurm .*$", PAGE + (slurm.help or ""), re.MULTILINE))
def test_examples_of_the_handbook_and_of_the_help_can_be_run(line: str) -> None:
    assert main(shlex.split(line)[1:]) == 0


def test_the_cluster_in_the_handbook_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    (table,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    Path("nanochat.toml").write_text(table)
    text = written(capsys, "train", "base")
    assert "#SBATCH --gpus-per-node=4\n" in text
    assert "#SBATCH --mem=0\n#SBATCH --exclusive\n" in text
    assert text.count("\nmodule purge\nmodule load cuda\n") == 2


def test_there_is_no_cluster_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["slurm", "--submit", "--output", "jobs", "train", "base"]) == 3
    assert capsys.readouterr().err == (
        "error: there is no sbatch here\nhint: run this on a login node of the cluster\n"
    )


def test_nothing_heavy_is_loaded() -> None:
    code = """
import sys
from nanochat.cli import main
from nanochat.commands.slurm import slurm
assert main(["slurm", "--gpus-per-node", "1", "speedrun"]) == 0
assert main(["slurm", "train", "base"]) == 0
print(*{"torch", "textual", "pyarrow", "httpx2", "tiktoken", "numpy"} & set(sys.modules), file=sys.stderr, end="")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("slurm ", {"train", "speedrun", "eval"}),
        ("slurm --nodes 2 tr", {"train"}),
        ("slurm train ", {"base", "mid", "sft", "rl"}),
        ("slurm train base --seq", {"--sequence-len"}),
        ("slurm --part", {"--partition"}),
        ("slurm speedrun ", {"pocket"}),
        ("slurm train base --recipe ", {"modern", "classic"}),
    ],
)
def test_tab_asks_the_other_command(line: str, offered: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["nanochat", *line.split(" ")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_NANOCHAT_COMPLETE", "bash_complete")
        patch.setenv("COMP_WORDS", " ".join(words))
        patch.setenv("COMP_CWORD", str(len(words) - 1))
        assert main([]) == 0
    assert {item.partition(",")[2] for item in capsys.readouterr().out.splitlines()} == offered
