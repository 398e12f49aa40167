"""`nanochat data chat-check`: what is printed, what is written, and the exit code."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from doubles import tiny_config

from nanochat.commands import tokens
from nanochat.commands.data_chat import SHOWN_TOKENS, chat_check
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.tasks.files import ConversationFile
from nanochat.tokenizer.render import render
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import train_tokenizer

GOOD = ['["Hi", "Hello \\u001b[31m!"]', '{"prompt": "<|bos|>", "response": "Hi"}']


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    train_tokenizer(["Hello world and hello all the words of this world"] * 3, 280).save(
        tmp_path / "base" / "tokenizers" / "tiny"
    )
    return tmp_path / "base"


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def run(base_dir: Path, *words: Any) -> Result:
    return CliRunner().invoke(chat_check, ["--base-dir", str(base_dir), *map(str, words)])


def test_a_good_file(base_dir: Path, tmp_path: Path) -> None:
    result = run(base_dir, write(tmp_path / "a.jsonl", *GOOD), "-n", 1)
    assert result.exit_code == 0
    head, shown = result.stdout.split("\n\nconversation 1:\n")
    tokenizer = Tokenizer.load(base_dir / "tokenizers" / "tiny")
    rows = [render(tokenizer, conversation) for conversation in ConversationFile(tmp_path / "a.jsonl")]
    total, trained = sum(len(ids) for ids, _ in rows), sum(sum(mask) for _, mask in rows)
    longest = max(len(ids) for ids, _ in rows)
    assert head.splitlines() == [
        f"{tmp_path / 'a.jsonl'}: 2 conversations (pairs)",
        "  answers    1.0 each, 1 at most",
        "  messages   user 2, assistant 2",
        f"  tokens     {total}, {total / 2:.0f} each, longest {longest} (line 1); by tiny",
        f"  trained    {trained} in sft, {trained / total:.0%}",
    ]
    lines = shown.splitlines()
    assert [line[0] for line in lines] == ["+" if mask else " " for mask in rows[0][1]]
    assert "\x1b" not in result.stdout + result.stderr
    assert "+ trained" in result.stderr
    assert "conversation 2" not in shown


def test_text_never_becomes_a_special_token(base_dir: Path, tmp_path: Path) -> None:
    shown = json.loads(run(base_dir, write(tmp_path / "a.jsonl", GOOD[1]), "--json").stdout)["shown"][0]
    tokenizer = Tokenizer.load(base_dir / "tokenizers" / "tiny")
    assert shown["ids"].count(tokenizer.bos) == 1
    assert tokenizer.encode("<|bos|>") == shown["ids"][2:-5] or len(tokenizer.encode("<|bos|>")) > 1


def test_bad_lines(base_dir: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD[0], '["q\\u001b]0;x"]', "oops", *['{"a": 1}'] * 30)
    result = run(base_dir, path)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[:3] == [
        "32 bad lines:",
        "  line 2: there is no answer of the assistant",
        "  line 3: not JSON: Expecting value at character 1",
    ]
    assert "  and 12 more" in lines
    told = json.loads(run(base_dir, path, "--json").stdout)
    assert (told["conversations"], told["bad"], len(told["problems"])) == (1, 32, 32)
    assert told["problems"][0] == {"line": 2, "item": None, "message": "there is no answer of the assistant"}


def test_good_ones_can_be_kept(base_dir: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", GOOD[0], "oops", GOOD[1])
    kept = tmp_path / "good.jsonl"
    assert run(base_dir, path, "-o", kept).exit_code == 1
    assert [conversation.messages[0].content for conversation in ConversationFile(kept)] == ["Hi", "<|bos|>"]
    assert run(base_dir, kept).exit_code == 0
    before = kept.read_bytes()
    refused = run(base_dir, kept, "-o", kept)
    assert isinstance(refused.exception, UsageError)
    assert run(base_dir, kept, "-o", kept, "--yes").exit_code == 0
    assert kept.read_bytes() == before
    assert run(base_dir, write(tmp_path / "b.jsonl", "oops"), "-o", tmp_path / "none.jsonl").exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl", "base", "good.jsonl"]


def test_where_the_good_ones_go(base_dir: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOOD)
    assert run(base_dir, path, "-o", tmp_path / "new" / "kept.jsonl").exit_code == 0
    assert len((tmp_path / "new" / "kept.jsonl").read_text().splitlines()) == len(GOOD)
    refused = run(base_dir, path, "-o", tmp_path / "new", "--yes")
    assert refused.exit_code == 2
    assert "is a directory" in refused.stderr


def test_an_empty_file_is_named_so(base_dir: Path, tmp_path: Path) -> None:
    result = run(base_dir, write(tmp_path / "a.jsonl"))
    assert (result.exit_code, result.stderr) == (1, "there is no conversation in it\n")


def test_the_context_is_that_of_the_model(base_dir: Path, tmp_path: Path) -> None:
    step = base_dir / "models" / "m" / "sft" / "step_000001"
    Tokenizer.load(base_dir / "tokenizers" / "tiny").save(step / "tokenizer")
    (step / "model.json").write_text(json.dumps(tiny_config(sequence_len=8).to_dict()))
    path = write(tmp_path / "a.jsonl", *GOOD)
    assert "  too long   2 for the context of 8: training cuts them, 1 of them" in run(base_dir, path).stdout
    assert json.loads(run(base_dir, path, "--model", "m:sft", "--json").stdout)["sequence_len"] == 8
    assert "  context    1,000: all fit" in run(base_dir, path, "--sequence-len", 1000).stdout
    assert json.loads(run(base_dir, path, "-t", "tiny", "--json").stdout)["sequence_len"] is None


def test_without_any_tokenizer(tmp_path: Path) -> None:
    result = run(tmp_path / "empty", write(tmp_path / "a.jsonl", *GOOD))
    assert result.exit_code == 0
    assert "not counted: there is no tokenizer yet" in result.stdout


def test_wrong_requests(base_dir: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", *GOOD)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"[]")[:-3])
    for words, kind in (
        ((path, "--model", "m", "-t", "tiny"), UsageError),
        ((path, "--model", "m"), MissingError),
        ((path, "-t", "other"), MissingError),
        ((tmp_path / "none.jsonl",), MissingError),
        ((tmp_path,), UsageError),
        ((tmp_path / "b.jsonl.gz",), DamagedError),
    ):
        assert isinstance(run(base_dir, *words).exception, kind), words
    empty = run(base_dir, write(tmp_path / "empty.jsonl"))
    assert (empty.exit_code, empty.stdout) == (1, f"{tmp_path / 'empty.jsonl'}: 0 conversations\n")


def test_long_ones_are_shown_in_part(base_dir: Path, tmp_path: Path) -> None:
    result = run(base_dir, write(tmp_path / "a.jsonl", json.dumps(["q", "xyz " * 400])))
    more = re.search(r"\.\.\. ([\d,]+) more tokens", result.stdout)
    assert more
    assert len([line for line in result.stdout.splitlines() if line.endswith("|")]) == SHOWN_TOKENS


def test_in_colour_trained_tokens_are_underlined(
    base_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "is_plain", lambda stream, environ: False)
    monkeypatch.setitem(os.environ, "TERM", "xterm-256color")
    shown = run(base_dir, write(tmp_path / "a.jsonl", '["Qu", "Hey"]')).stdout
    assert re.search(r"\x1b\[4;[\d;]+m<\|assistant_end\|>", shown)
    assert not re.search(r"\x1b\[4;[\d;]+m<\|user_end\|>", shown)
