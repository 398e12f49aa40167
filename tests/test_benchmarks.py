"""Benchmarks run and tell the truth about whether systems agree; how fast they are is for a quiet machine."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

REPOSITORY = Path(__file__).parent.parent


def run(*words: str, name: str = "tokenizer") -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "benchmarks" / f"{name}.py"
    return subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)


def test_tokenizer(tmp_path: Path) -> None:
    texts = [f"{n} red apples and {n * n} green pears, said the {n}th farmer's daughter." for n in range(300)]
    for index in range(2):
        pq.write_table(pa.table({"text": texts}), tmp_path / f"shard_{index:05}.parquet", row_group_size=100)
    words = ("--data", str(tmp_path), "--vocab-size", "400", "--repeat", "1", "--only", "ours,tiktoken,tokenizers")
    done = run(*words, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["settings"]["text_bytes"] == sum(len(text.encode()) for text in texts)
    rows = {(row["what"], row["who"]): row for row in report["rows"]}
    assert not [row for row in rows.values() if "seconds" not in row]
    for threads in ("1 thread", "2 threads"):
        for who in ("ours", "tiktoken", "tokenizers"):
            assert rows[f"encode, {threads}", who]["same"] is True
    ours = rows["train", "ours"]
    assert (ours["same"], ours["time_ratio"], ours["memory_ratio"]) == (True, 1.0, 1.0)
    assert 0 < ours["parts"]["count"] + ours["parts"]["merge"] <= ours["seconds"] + 1e-6
    assert rows["parquet to file", "ours"]["seconds"] > ours["seconds"]


def test_wrong_requests(tmp_path: Path) -> None:
    assert "no system 'rust'" in run("--only", "rust").stderr
    for name in ("tokenizer", "loader", "data"):
        assert "error: no shards in" in run("--data", str(tmp_path), name=name).stderr


@pytest.mark.slow
def test_loader(tmp_path: Path) -> None:
    for index in range(3):
        texts = [f"Document {n} of {index}: " + "one two three " * (n * 37 % 90) for n in range(700)]
        pq.write_table(pa.table({"text": texts}), tmp_path / f"shard_{index:05}.parquet", row_group_size=300)
    words = ("--data", str(tmp_path), "--lengths", "64", "--passes", "1", "--vocab-size", "300")
    done = run(*words, "--repeat", "1", "--steps", "1", "--rate", "10e6", "--json", name="loader")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["text"]["documents"] == 1400
    rows = {(row["length"], row["who"]): row for row in report["rows"]}
    ours, dropping, reference = (rows[64, who] for who in ("ours", "ours, tails dropped", "reference"))
    assert (ours["lost"], dropping["without_beginning"], reference["without_beginning"]) == (0, 0, 0)
    assert 0 < dropping["least_possible"] <= dropping["lost"] < 1
    assert 0 < reference["least_possible"] <= reference["lost"] < 1
    assert 0 < ours["least_possible"] <= ours["without_beginning"] < 1
    assert min(row["fill"] for row in (ours, dropping, reference)) > 0.99
    assert ours["rows_per_s"] > 0
    assert len(ours["memory_bytes"]) == 1


def test_data(tmp_path: Path) -> None:
    texts = [f"{n} red apples and {n * n} green pears, said the {n}th farmer's daughter." for n in range(900)]
    for index in range(2):
        pq.write_table(
            pa.table({"text": texts[index * 450 : (index + 1) * 450]}), tmp_path / f"shard_{index:05}.parquet"
        )
    done = run("--data", str(tmp_path), "--megabytes", "1", "--repeat", "1", "--json", name="data")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["kind"] for row in report["rows"]] == ["parquet", "jsonl", "txt"]
    for row in report["rows"]:
        assert row["text_bytes"] == report["text_bytes"]  # nothing is lost on the way
        assert row["times_plain"] == pytest.approx(row["plain_mb_per_s"] / row["import_mb_per_s"])


TINY = (
    "--depth",
    "1",
    "--rows",
    "2",
    "--sequence-len",
    "64",
    "--vocab-size",
    "300",
    "--compile",
    "off",
    "--threads",
    "1",
)


def test_train() -> None:
    done = run(*TINY, "--rounds", "1", "--steps", "1", "--json", name="train")
    assert done.returncode == 0, done.stderr
    rows = {row["way"]: row for row in json.loads(done.stdout)["rows"]}
    assert list(rows) == ["ours", "plain float32", "plain bfloat16"]
    exact = rows["plain float32"]
    assert (exact["speed_of_plain_float32"], exact["memory_of_plain_float32"]) == (1.0, 1.0)
    ours = rows["ours"]
    assert ours["speed_of_plain_float32"] == ours["tokens_per_s"] / exact["tokens_per_s"]
    assert ours["memory_of_plain_bfloat16"] == ours["peak_bytes"] / rows["plain bfloat16"]["peak_bytes"]
    assert all(0 < row["optimizer_share"] < 1 for row in rows.values())


def test_train_losses(tmp_path: Path) -> None:
    texts = [f"{n} red apples and {n * n} green pears, said the {n}th farmer's daughter." for n in range(900)]
    for index in range(2):
        pq.write_table(pa.table({"text": texts}), tmp_path / f"shard_{index:05}.parquet", row_group_size=100)
    words = ("--loss", "60", "--seeds", "2", "--warmdown", "0", "--data", str(tmp_path))
    done = run(*TINY, *words, "--only", "plain float32,nudged float32,ours", "--json", name="train")
    assert done.returncode == 0, done.stderr
    assert [line.split(" ")[1] for line in done.stderr.splitlines()] == ["0:"] * 3 + ["1:"] * 3  # each run is told
    rows = {row["way"]: row for row in json.loads(done.stdout)["rows"]}
    exact = rows.pop("plain float32")
    assert len(set(exact["losses"])) == 2  # seeds differ
    assert exact["loss"] < 5.2  # a uniform guess among 300 is 5.7
    assert list(rows) == ["nudged float32", "ours"]
    for row in rows.values():
        pairs = [loss / other - 1 for loss, other in zip(row["losses"], exact["losses"], strict=True)]
        assert row["from_float32"] == pytest.approx(sum(pairs) / 2)
        assert row["error"] == pytest.approx(abs(pairs[0] - pairs[1]) / 2)
        assert row["of_one_run"] == pytest.approx(math.hypot(*pairs) / 2**0.5)
        assert 0 < row["of_one_run"] < 0.02  # another run it was, of the same model
    wrong = run("--only", "theirs", name="train").stderr
    assert "no way 'theirs'" in wrong
    assert "nudged" not in wrong  # which is of --loss alone
    done = run(*TINY, *words[:2], "--data", str(tmp_path / "none"), name="train")
    assert "has no shards" in done.stderr


@pytest.mark.slow
def test_recipes(tmp_path: Path) -> None:
    texts = [f"{n} red apples and {n * n} green pears, said the {n}th farmer's daughter." for n in range(900)]
    for index in range(2):
        pq.write_table(pa.table({"text": texts}), tmp_path / f"shard_{index:05}.parquet", row_group_size=100)
    words = ("--depth", "1", "--sequence-len", "64", "--vocab-size", "300", "--tokens", "1K", "--batch", "128")
    done = run(
        *(*words, "--eval-tokens", "256", "--seeds", "2", "--only", "default,matrix-lr-0.03"),
        *("--data", str(tmp_path), "--json"),
        name="recipes",
    )
    assert done.returncode == 0, done.stderr
    default, other = json.loads(done.stdout)["rows"]
    assert len(set(default["bpb"])) == 2  # seeds differ
    assert other["difference"] == pytest.approx(other["mean"] - default["mean"])
    assert other["difference"] != 0
    assert "no recipe 'mine'" in run("--only", "mine", name="recipes").stderr
    assert "error: no shards in" in run("--data", str(tmp_path / "none"), name="recipes").stderr


def test_download() -> None:
    done = run("--files", "3", "--size", "3000000", "--repeat", "1", "--json", name="download")
    assert done.returncode == 0, done.stderr
    rows = {row["way"]: row for row in json.loads(done.stdout)["rows"]}
    ours, plain = rows["ours"], rows["plain copy"]
    assert ours["mb_per_s_of_plain_copy"] == ours["mb_per_s"] / plain["mb_per_s"]
    assert ours["mb_per_s"] == pytest.approx(9.0 / ours["seconds"])
    assert plain["mb_per_s_of_plain_copy"] == 1.0
    assert 10e6 < plain["rss_bytes"] < ours["rss_bytes"] < 200e6


INFER = ("--depth", "2", "--head-dim", "32", "--vocab-size", "300", "--rounds", "1", "--threads", "1", "--json")


def test_infer() -> None:
    lengths = ("--prompt-tokens", "20", "--new-tokens", "5", "--batch-sizes", "2")
    done = run(*INFER, *lengths, name="infer")
    assert done.returncode == 0, done.stderr
    rows = {row["way"]: row for row in json.loads(done.stdout)["rows"]}
    assert rows.keys() == {"eager float32", "ours, float32", "ours, bfloat16", "ours, int8"}
    assert rows["eager float32"]["of_eager"] == rows["ours, bfloat16"]["of_bfloat16"] == 1
    for row in rows.values():
        assert row["of_eager"] == pytest.approx(
            row["decode_tokens_per_s"] / rows["eager float32"]["decode_tokens_per_s"]
        )
    done = run(*INFER, "--new-tokens", "4", "--what", "lookup", name="infer")
    assert [row["same"] for row in json.loads(done.stdout)["rows"]] == [True, True, True]


def test_sandbox() -> None:
    done = run("--rounds", "2", "--json", name="sandbox")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["bare_ms"] > 0
    assert [row["way"] for row in report["rows"]] == ["script", "checked function"]
    assert all(row["overhead_ms"] <= row["overhead_ms_p90"] for row in report["rows"])


def test_core(test_data: Path) -> None:
    words = ("--shared", str(test_data), "--items", "3", "--tasks", "copa,winograd,bigbench_operators")
    done = run(*words, "--json", name="core")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [row["what"] for row in report["rows"]] == ["copa", "winograd", "bigbench_operators"]
    for row in (*report["rows"], *report["sums"]):
        assert row["same"] == row["items"]
        assert row["speedup"] == pytest.approx(row["plain_s"] / row["ours_s"])
    assert report["sums"][-1]["items"] == 9
    assert "no task 'cop'" in run("--shared", str(test_data), "--tasks", "cop", name="core").stderr


def test_sharing() -> None:
    tiny = "--depth 1 --sequence-len 32 --vocab-size 128 --compile off --dtype float32"
    done = run("--steps", "1", "--words", tiny, "--json", name="sharing")
    assert done.returncode == 0, done.stderr
    ours, plain = json.loads(done.stdout)["rows"]
    assert (ours["who"], plain["who"]) == ("ours", "the library's")
    assert all(len(row["both_s"]) == 2 and min(row["both_s"]) > 0 for row in (ours, plain))
    assert ours["ratio"] == pytest.approx(sum(ours["both_s"]) / 2 / ours["alone_s"])


def test_stages_trains_rl_as_the_pipeline_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import stages

    from nanochat.config.fields import options_of
    from nanochat.config.rl import RlConfig
    from nanochat.config.speedrun import SpeedrunConfig, pocket_recipe

    words = stages.rl_words(43)
    flags = {spec.flags[0]: spec for spec in options_of(RlConfig)}
    given = {flags[flag].name: flags[flag].from_text(text) for flag, text in zip(words[::2], words[1::2], strict=True)}
    assert RlConfig(**given) == pocket_recipe(SpeedrunConfig(seed=43, rl=True)).rl


def test_stages_says_what_was_lifted_and_what_was_hurt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    import stages

    def scores(right: int) -> dict[str, float]:
        return {"correct": right, "n": 200, "accuracy": right / 200}

    def run(lifted: int) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
        problems = {"base": 0, "mid": 40, "sft": 80, "rl": 80 + lifted}
        facts = {"base": 40, "mid": 190, "sft": 196, "rl": 150}
        choice = {"base": 50, "mid": 52, "sft": 50, "rl": 60}
        tasks = {"facts": facts, "problems": problems, "choice": choice}
        return {"tasks": {s: {name: scores(right[s]) for name, right in tasks.items()} for s in stages.STAGES}}

    runs = [run(40), run(60)]
    names = ("facts", "problems", "choice")
    cells = {s: {task: stages.cell(runs, s, task) for task in names} for s in stages.STAGES}
    lines = stages.table(cells)
    assert lines[0] == "| task | base | mid | sft | rl |"
    assert lines[3].endswith("| 65.0% (58.2 to 71.3), 60 to 70 |")
    assert "rl lifts problems by 25.0 points; by seed 20.0, 30.0" in lines
    one = {**cells, "sft": {task: stages.cell(runs[:1], "sft", task) for task in names}}
    assert stages.table(one) == lines
    assert "not lifted above base by mid, its interval included: choice" in lines
    assert "under 90% after mid and not lifted by sft: choice" in lines
    assert "sft is below mid beyond its interval in: none" in lines
    assert "rl is below sft beyond its interval in: facts" in lines
