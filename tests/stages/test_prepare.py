"""Data and tokenizer: made once, made again when something changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.errors import MissingError
from nanochat.runtime.events import Event, StageFinished, StageProgress
from nanochat.stages.prepare import make_pocket_data, make_tokenizer

DATA = PocketDataConfig(size=300_000, shard_size=100_000)
TOKENIZER = TokenizerConfig(vocab_size=512)


def test_made_before(toy: Any) -> None:
    events: list[Event] = []
    before = {path: path.stat().st_mtime_ns for path in toy.base.rglob("*") if path.is_file()}
    shards = make_pocket_data(DATA, toy.context, events.append)
    tokenizer = make_tokenizer(TOKENIZER, toy.context, events.append)
    assert len(shards) == 4
    assert tokenizer.vocab_size == 512
    assert isinstance(events[-1], StageFinished)
    assert events[-1].skipped
    assert {path: path.stat().st_mtime_ns for path in toy.base.rglob("*") if path.is_file()} == before


def test_another_size_is_trained_anew(toy: Any) -> None:
    events: list[Event] = []
    assert make_tokenizer(TokenizerConfig(vocab_size=300), toy.context, events.append).vocab_size == 300
    assert any(isinstance(event, StageProgress) for event in events)
    assert make_tokenizer(TokenizerConfig(vocab_size=300), toy.context, events.append).vocab_size == 300
    assert isinstance(events[-1], StageFinished)
    assert events[-1].skipped


def test_a_damaged_tokenizer_is_made_again(toy: Any) -> None:
    before = make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint
    ranks = toy.context.paths.tokenizer("pocket") / "ranks.tiktoken"
    ranks.write_bytes(ranks.read_bytes()[:-20])
    assert make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint == before


def test_other_data_makes_another_tokenizer(toy: Any) -> None:
    before = make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint
    make_pocket_data(PocketDataConfig(size=200_000, seed=5), toy.context, lambda event: None)
    assert make_tokenizer(TOKENIZER, toy.context, lambda event: None).fingerprint != before


def test_figures_and_progress(toy: Any) -> None:
    events: list[Event] = []
    make_tokenizer(TokenizerConfig(name="new", vocab_size=400), toy.context, events.append)
    progress = [event for event in events if isinstance(event, StageProgress)]
    assert [event.unit for event in progress][:1] == ["bytes"]
    assert progress[-1].unit == "merges"
    assert progress[-1].done == progress[-1].total == 400 - 265
    read = [event for event in progress if event.unit == "bytes"]
    assert 0.9 * read[-1].total < read[-1].done <= read[-1].total
    (finished,) = (event for event in events if isinstance(event, StageFinished))
    summary = finished.summary
    assert summary["vocab_size"] == 400
    assert summary["bytes"] > 150_000
    assert summary["documents"] > summary["unique_chunks"] / 100 > 0
    assert 0 < summary["counting_s"] + summary["merging_s"] < finished.elapsed_s + 0.01


def test_threads_are_no_reason_to_train_again(toy: Any) -> None:
    events: list[Event] = []
    make_tokenizer(TokenizerConfig(vocab_size=512, threads=2), toy.context, events.append)
    assert [type(event) for event in events] == [StageFinished]


def test_files_in_place_of_a_data_set(toy: Any, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    first, second = folder / "a.txt", folder / "b.jsonl"
    first.write_text("abcabc " * 50)
    second.write_text('{"text": "abcd"}\n' * 50)
    config = TokenizerConfig(name="mine", data="nowhere", vocab_size=268)
    made = make_tokenizer(config, toy.context, lambda event: None, [folder])
    assert made.encode("abcd") == [258] or made.encode("abc") == [257]
    events: list[Event] = []
    again = make_tokenizer(config, toy.context, events.append, [first, second])
    assert again.fingerprint == made.fingerprint
    assert [type(event) for event in events] == [StageFinished]
    second.write_text('{"text": "xyz"}\n' * 500)
    assert make_tokenizer(config, toy.context, lambda event: None, [folder]).fingerprint != made.fingerprint


def test_nothing_heavy_is_loaded(toy: Any, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nanochat.config.data import TokenizerConfig;"
        "from nanochat.runtime.context import RunContext; from nanochat.runtime.paths import Paths;"
        "from nanochat.stages.prepare import make_tokenizer;"
        "paths = Paths(base=Path(sys.argv[1]), cache=Path(sys.argv[1]));"
        "make_tokenizer(TokenizerConfig(name='a', vocab_size=300), RunContext(paths=paths), lambda event: None);"
        "heavy = {'pyarrow', 'numpy', 'torch', 'pandas'} & set(sys.modules); assert not heavy, heavy"
    )
    (tmp_path / "data").symlink_to(toy.base / "data")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_no_data(toy: Any) -> None:
    with pytest.raises(MissingError) as caught:
        make_tokenizer(TokenizerConfig(data="mine"), toy.context, lambda event: None)
    assert caught.value.hint == "nanochat data import PATH --name mine"
