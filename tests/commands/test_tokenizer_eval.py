"""`nanochat tokenizer eval`: a table, JSON, and columns that say what is not here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from click.testing import CliRunner, Result

from nanochat.cli import main
from nanochat.commands.tokenizer_eval import eval_
from nanochat.errors import MissingError, UsageError
from nanochat.evaluation.passages import PASSAGES
from nanochat.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set under another name than the tokenizer's, which remembers it."""
    base = tmp_path_factory.mktemp("base")
    where = ("--base-dir", str(base))
    assert main(["data", "pocket", "--name", "world", "--size", "100K", "--shard-size", "50K", *where]) == 0
    assert main(["tokenizer", "train", "--name", "tiny", "--data", "world", "--vocab-size", "400", *where]) == 0
    return base


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch, base_dir: Path) -> dict[str, tiktoken.Encoding]:
    """GPT-2 of single bytes, GPT-4 the same as ours: no network is asked."""
    ours = Tokenizer.load(base_dir / "tokenizers" / "tiny")
    made = {
        "gpt2": {token: rank for token, rank in ours.ranks().items() if rank < 256},
        "cl100k_base": ours.ranks(),
    }
    found = {
        name: tiktoken.Encoding(name, pat_str=ours.pattern, mergeable_ranks=ranks, special_tokens={})
        for name, ranks in made.items()
    }
    monkeypatch.setattr(tiktoken, "get_encoding", found.__getitem__)
    return found


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise ConnectionError("HTTPSConnectionPool(host=...): Max retries exceeded")

    monkeypatch.setattr(tiktoken, "get_encoding", refuse)


def run(command: Any, base_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(command, [*words, "--base-dir", str(base_dir)])


def test_eval(base_dir: Path, others: object) -> None:
    result = run(eval_, base_dir)
    assert result.exception is None
    names, header, *rows = result.stdout.splitlines()
    assert names.split() == ["tiny", "GPT-2", "GPT-4"]
    assert header.split() == ["text", "bytes", "400", "256", "ours", "391", "ours"]
    assert [row.split()[0] for row in rows] == [*PASSAGES, "train", "validation"]
    for row in rows:
        _, size, ours, two, ours_to_two, four, ours_to_four = row.split()
        assert int(size.replace(",", "")) > 300
        assert (two, four, ours_to_four) == ("1.00", ours, "+0.0%")
        # the table rounds bytes per token to a hundredth
        assert float(ours_to_two.rstrip("%")) == pytest.approx(100 * (float(ours) - 1), abs=0.6)
    assert float(rows[-1].split()[2]) > 1.5
    assert result.stderr == ""


def test_eval_json(base_dir: Path, others: object) -> None:
    found = json.loads(run(eval_, base_dir, "tiny", "--json", "--max-chars", "1K").stdout)
    assert (found["tokenizer"], found["vocab_size"], found["data"]) == ("tiny", 400, "world")
    assert found["others"]["GPT-2"] == {"vocab_size": 256, "missing": None}
    rows = {row["name"]: row for row in found["texts"]}
    assert list(rows) == [*PASSAGES, "train", "validation"]
    train = rows["train"]
    assert train["bytes"] == 1000
    assert train["ours"]["bytes_per_token"] == pytest.approx(1000 / train["ours"]["tokens"])
    assert train["others"]["GPT-2"] == {
        "tokens": 1000,
        "bytes_per_token": 1.0,
        "difference": pytest.approx(1000 / train["ours"]["tokens"] - 1),
    }
    assert train["others"]["GPT-4"]["difference"] == 0.0


def test_without_network_the_columns_say_so(base_dir: Path, no_network: None) -> None:
    result = run(eval_, base_dir)
    assert result.exception is None
    names, header, first, *_ = result.stdout.splitlines()
    assert names.split() == ["tiny", "GPT-2", "GPT-4"]
    assert header.split() == ["text", "bytes", "400", "not", "here", "not", "here"]
    assert first.split()[3:] == ["-", "-"]
    assert result.stderr == "GPT-2 is not here: no connection\nGPT-4 is not here: no connection\n"
    found = json.loads(run(eval_, base_dir, "--json").stdout)
    assert found["others"]["GPT-4"] == {"vocab_size": None, "missing": "no connection"}
    assert found["texts"][0]["others"] == {}


def test_without_the_data_set_the_passages_remain(base_dir: Path, tmp_path: Path, no_network: None) -> None:
    folder = base_dir / "tokenizers" / "tiny"
    result = run(eval_, tmp_path, str(folder))
    assert result.exception is None
    assert len(result.stdout.splitlines()) == 2 + len(PASSAGES)
    assert "name one with --data" in result.stderr
    assert isinstance(run(eval_, base_dir, "--data", "nothing").exception, MissingError)


def test_eval_of_what_is_not_there(base_dir: Path, tmp_path: Path) -> None:
    assert isinstance(run(eval_, base_dir, "tinny").exception, MissingError)
    assert isinstance(run(eval_, tmp_path).exception, MissingError)
    assert isinstance(run(eval_, base_dir, "--max-chars", "0").exception, UsageError)
