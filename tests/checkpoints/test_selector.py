from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nanochat.checkpoints.layout import mark_best, mark_finished
from nanochat.checkpoints.selector import (
    Selector,
    describe_place,
    load_for_inference,
    parse_selector,
    require_tag,
    resolve,
)
from nanochat.errors import DamagedError, MissingError, StorageError, UsageError
from nanochat.runtime.paths import Paths

Save = Callable[..., Path]


def test_syntax() -> None:
    assert parse_selector(None) == parse_selector("") == Selector()
    assert parse_selector("d12") == Selector("d12")
    assert parse_selector("my.model-2:sft") == Selector("my.model-2", "sft")
    assert parse_selector("d12:sft@650") == Selector("d12", "sft", 650)
    assert str(parse_selector("d12:sft@650")) == "d12:sft@650"


@pytest.mark.parametrize("text", [":sft", "d12:", "d12@650", "d12:sft@", "d12:sft@x", "d12:sft:rl", "@1", " "])
def test_bad_syntax(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selector(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", [".hidden", "..", "a/b", "../up:base", "a b", "a\n"])
def test_bad_tags(text: str) -> None:
    with pytest.raises(UsageError):
        parse_selector(text)


def test_the_best_by_validation(paths: Paths, save: Save) -> None:
    folder = paths.model_dir("d4", "base")
    best = save(folder, 1, state={"train": {"best_step": 1}}, keep=9)
    save(folder, 2, state={"train": {"best_step": 1}}, keep=9)
    assert resolve(paths, "d4:base@best") == best
    newest = save(folder, 3, state={"train": {"best_step": 3}}, keep=9)
    assert resolve(paths, "d4:base@best") == newest
    assert str(parse_selector("d4:base@best")) == "d4:base@best"


def test_the_best_may_be_known_only_after_it_was_saved(paths: Paths, save: Save) -> None:
    folder = paths.model_dir("d4", "base")
    first = save(folder, 1, state={"train": {"best_step": 1}}, keep=9)
    second = save(folder, 2, state={"train": {"best_step": 1}}, keep=9)
    mark_best(folder, 2, 1.5)
    assert resolve(paths, "d4:base@best") == second
    mark_best(folder, 7, 1.4)  # its checkpoint is gone
    assert resolve(paths, "d4:base@best") == first


def test_the_best_is_not_taken_from_a_damaged_file(paths: Paths, save: Save) -> None:
    folder = paths.model_dir("d4", "base")
    best = save(folder, 1, state={"train": {"best_step": 1}}, keep=9)
    newest = save(folder, 2, state={"train": {"best_step": 1}}, keep=9)
    state = newest / "state.json"
    state.write_text(state.read_text().replace('"best_step": 1', '"best_step": 2'))
    assert resolve(paths, "d4:base@best") == best


def test_no_best_without_a_validation(paths: Paths, save: Save) -> None:
    save(paths.model_dir("d4", "base"), 1)
    with pytest.raises(MissingError, match="no checkpoint that was validated") as caught:
        resolve(paths, "d4:base@best")
    assert "d4:base" in caught.value.hint


def test_bad_stage_offers_the_close_one() -> None:
    with pytest.raises(UsageError, match="did you mean sft"):
        parse_selector("d12:stf")


def test_nothing_is_the_newest(paths: Paths, save: Save) -> None:
    old = save(paths.model_dir("a", "sft"), 9)
    new = save(paths.model_dir("b", "base"), 1)
    assert resolve(paths) == new
    os.utime(old / "manifest.json", (4e9, 4e9))
    assert resolve(paths) == old
    assert describe_place(old) == "a:sft@9"


def test_tag_alone_is_the_furthest_finished_stage(paths: Paths, save: Save) -> None:
    base = save(paths.model_dir("d4", "base"), 30)
    mid = save(paths.model_dir("d4", "mid"), 20)
    sft = save(paths.model_dir("d4", "sft"), 10)
    assert resolve(paths, "d4") == sft  # none is finished
    mark_finished(base.parent, {})
    assert resolve(paths, "d4") == base
    mark_finished(mid.parent, {})
    assert resolve(paths, "d4") == mid
    assert resolve(paths, "d4:sft") == sft


def test_stage_and_step(paths: Paths, save: Save) -> None:
    first, second = (save(paths.model_dir("d4", "sft"), step) for step in (100, 200))
    assert resolve(paths, "d4:sft") == second
    assert resolve(paths, "d4:sft@100") == first
    with pytest.raises(MissingError, match=r"no step 650 \(it has 100, 200\)") as caught:
        resolve(paths, "d4:sft@650")
    assert "d4:sft@200" in caught.value.hint


def test_missing_says_the_command(paths: Paths, save: Save) -> None:
    with pytest.raises(MissingError) as caught:
        resolve(paths)
    assert caught.value.hint == "nanochat speedrun pocket"
    with pytest.raises(MissingError) as caught:
        resolve(paths, "d12")
    assert caught.value.hint == "nanochat speedrun pocket"
    save(paths.model_dir("d12", "base"), 1)
    with pytest.raises(MissingError, match="did you mean d12") as caught:
        resolve(paths, "d21")
    assert caught.value.hint == "nanochat train base --tag d21"
    with pytest.raises(MissingError, match="it has base") as caught:
        resolve(paths, "d12:sft")
    assert caught.value.hint == "nanochat train sft --tag d12"
    paths.model_dir("empty", "base").mkdir(parents=True)
    with pytest.raises(MissingError) as caught:
        resolve(paths, "empty")
    assert caught.value.hint == "nanochat train base --tag empty"
    require_tag(paths, "empty")


def test_damaged_gives_way_with_notices(paths: Paths, save: Save) -> None:
    base = save(paths.model_dir("d4", "base"), 1)
    older, newer = (save(paths.model_dir("d4", "sft"), step) for step in (1, 2))
    for stage_dir in (base.parent, older.parent):
        mark_finished(stage_dir, {})
    (newer / "model.safetensors").write_bytes(b"")
    notices: list[str] = []
    assert load_for_inference(paths, "d4", notices.append).path == older
    assert str(newer / "model.safetensors") in notices[0]
    assert notices[1] == "using d4:sft@1 instead"
    (older / "state.json").unlink()
    assert resolve(paths, "d4") == base
    with pytest.raises(DamagedError, match=r"model\.safetensors"):
        resolve(paths, "d4:sft")
    with pytest.raises(DamagedError, match=r"step_000002.*model\.safetensors"):
        load_for_inference(paths, "d4:sft@2")


def test_unreadable_folder(paths: Paths) -> None:
    paths.models.write_text("a file")
    with pytest.raises(StorageError, match="models"):
        resolve(paths)
