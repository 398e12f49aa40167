from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nanochat.checkpoints.store import save_checkpoint
from nanochat.checkpoints.tokenizers import find_tokenizer, tokenizer_names
from nanochat.config.model import ModelConfig
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.paths import Paths
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import train_tokenizer

TEXT = ["the cat and the dog and the bird"]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Tokenizers old and new, and a model d4 whose own differs from both."""
    paths = Paths(base=tmp_path, cache=tmp_path / "cache")
    for age, name in enumerate(("new", "old")):
        train_tokenizer(TEXT, 266 + age).save(paths.tokenizer(name))
        for file in paths.tokenizer(name).iterdir():
            os.utime(file, (1e9 - age, 1e9 - age))
    for step in (1, 2):
        save_checkpoint(
            paths.model_dir("d4", "base"),
            step,
            model_state={"transformer.wte.weight": torch.ones(300, 8)},
            model_config=ModelConfig(sequence_len=16, vocab_size=268, n_layer=1, n_head=1, n_kv_head=1, n_embd=8),
            tokenizer=train_tokenizer(TEXT, 268),
            state={},
        )
    return paths


@pytest.mark.parametrize(
    ("selector", "name", "vocab_size"),
    [
        (None, "new", 266),
        ("", "new", 266),
        ("old", "old", 267),
        ("d4", "d4:base@2", 268),
        ("d4:base", "d4:base@2", 268),
        ("d4:base@1", "d4:base@1", 268),
    ],
)
def test_names(paths: Paths, selector: str | None, name: str, vocab_size: int) -> None:
    found = find_tokenizer(paths, selector)
    assert (found.name, found.tokenizer.vocab_size) == (name, vocab_size)
    assert Tokenizer.load(found.folder).fingerprint == found.tokenizer.fingerprint


def test_folders(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_tokenizer(paths, str(paths.tokenizer("old"))).tokenizer.vocab_size == 267
    monkeypatch.chdir(paths.base)
    assert find_tokenizer(paths, "./tokenizers/old").tokenizer.vocab_size == 267
    assert find_tokenizer(paths, "models/d4/base/step_000001").tokenizer.vocab_size == 268


def test_a_tokenizer_comes_before_a_model_of_its_name(paths: Paths) -> None:
    train_tokenizer(TEXT, 269).save(paths.tokenizer("d4"))
    assert find_tokenizer(paths, "d4").tokenizer.vocab_size == 269
    assert find_tokenizer(paths, "d4:base").tokenizer.vocab_size == 268


def test_without_tokenizers_the_newest_model_lends_its_own(paths: Paths) -> None:
    (paths.base / "tokenizers").rename(paths.base / "elsewhere")
    assert tokenizer_names(paths) == []
    assert find_tokenizer(paths).tokenizer.vocab_size == 268


def test_names_are_listed_newest_first_and_half_a_tokenizer_is_one(paths: Paths) -> None:
    (paths.base / "tokenizers" / "empty").mkdir()
    assert tokenizer_names(paths) == ["new", "old"]
    (paths.tokenizer("old") / "ranks.tiktoken").unlink()
    assert tokenizer_names(paths) == ["new", "old"]
    with pytest.raises(DamagedError, match=r"ranks\.tiktoken"):
        find_tokenizer(paths, "old")


def test_a_damaged_copy_gives_way_to_the_checkpoint_before(paths: Paths) -> None:
    copy = paths.model_dir("d4", "base") / "step_000002" / "tokenizer" / "ranks.tiktoken"
    copy.write_bytes(copy.read_bytes()[:-1])
    assert find_tokenizer(paths, "d4").name == "d4:base@1"
    with pytest.raises(DamagedError, match=r"step_000002"):
        find_tokenizer(paths, "d4:base@2")


@pytest.mark.parametrize(
    ("selector", "kind", "says"),
    [
        ("ol", MissingError, "did you mean old"),
        ("xyzzy", MissingError, "no tokenizer 'xyzzy'"),
        ("d5:base", MissingError, "did you mean d4"),
        ("d4:sft", MissingError, "it has base"),
        ("./nowhere", MissingError, "no tokenizer in nowhere"),
        ("a b", UsageError, "'a b'"),
        ("d4:base:x", UsageError, "d4:base:x"),
    ],
)
def test_what_is_not_there(paths: Paths, selector: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        find_tokenizer(paths, selector)


def test_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        find_tokenizer(Paths(base=tmp_path, cache=tmp_path))
    assert caught.value.hint == "nanochat tokenizer train"
