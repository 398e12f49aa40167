from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nanochat.checkpoints import store
from nanochat.checkpoints.layout import step_dirs
from nanochat.checkpoints.manifest import verify
from nanochat.checkpoints.store import latest_valid, load_checkpoint
from nanochat.config.model import ModelConfig
from nanochat.errors import DamagedError, MissingError, StorageError, UsageError

Save = Callable[..., Path]
FILES = [
    "model.safetensors",
    "optimizer.safetensors",
    "model.json",
    "state.json",
    "tokenizer/tokenizer.json",
    "tokenizer/ranks.tiktoken",
    "manifest.json",
]


def names(stage_dir: Path) -> list[str]:
    return sorted(path.name for path in stage_dir.iterdir())


def test_round_trip(tmp_path: Path, save: Save) -> None:
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3).bfloat16(), "n": torch.tensor(7)}
    path = save(tmp_path / "base", 123, model_state=weights)
    assert path == tmp_path / "base" / "step_000123"
    loaded = load_checkpoint(path, with_optimizer=True)
    assert loaded.step == 123
    assert loaded.state == {"step": 123, "loader": {"shard": 3}}
    assert loaded.model_config == ModelConfig.from_dict(loaded.model_config.to_dict())
    assert loaded.model_config.n_embd == 8
    assert {name: t.dtype for name, t in loaded.model_state.items()} == {n: t.dtype for n, t in weights.items()}
    assert all(torch.equal(loaded.model_state[name], tensor) for name, tensor in weights.items())
    assert loaded.optimizer_state is not None
    assert torch.equal(loaded.optimizer_state["muon.momentum"], torch.full((2, 4), 123.0))
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("the cat")) == "the cat"
    assert load_checkpoint(path).optimizer_state is None
    assert names(tmp_path / "base") == ["step_000123"]


def test_the_best_outlives_the_newest(tmp_path: Path, save: Save) -> None:
    for step, best in ((1, None), (2, 2), (3, 2), (4, 2), (5, 5)):
        save(tmp_path, step, keep=1, best=best)
        assert names(tmp_path) == sorted({f"step_{best or step:06d}", f"step_{step:06d}"})


def test_files_are_those_of_the_manifest_and_readable_alike(tmp_path: Path, save: Save) -> None:
    path = save(tmp_path, 1)
    found = sorted(p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file())
    assert found == sorted(FILES)
    assert sorted(verify(path).files) == sorted(set(FILES) - {"manifest.json"})
    assert (path / "model.safetensors").stat().st_mode == (path / "model.json").stat().st_mode


def test_tensors_may_share_memory_be_views_or_empty(tmp_path: Path, save: Save) -> None:
    stacked = torch.arange(24.0).reshape(2, 3, 4)
    weights = {
        "0": stacked[0],
        "1": stacked[1],
        "t": stacked[0].T,
        "tied": stacked[0],
        "none": torch.empty(0),
    }
    loaded = load_checkpoint(save(tmp_path, 1, model_state=weights)).model_state
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def damage_positions(size: int) -> list[int]:
    return sorted({0, min(9, size - 1), size // 2, size - 1})


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_byte_is_found_named_and_the_previous_used(tmp_path: Path, save: Save, name: str) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    whole = (newer / name).read_bytes()
    for position in damage_positions(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        (newer / name).write_bytes(damaged)
        if name == "manifest.json" and position == len(whole) - 1:
            continue  # the final newline may be any other white space
        with pytest.raises(DamagedError, match=name):
            load_checkpoint(newer, with_optimizer=True)
        notices: list[str] = []
        assert latest_valid(tmp_path, notices.append) == older
        assert len(notices) == 1
        assert str(newer / name) in notices[0]
    (newer / name).write_bytes(whole)
    assert latest_valid(tmp_path) == newer


@pytest.mark.parametrize("name", FILES)
def test_truncated_longer_and_missing_files_are_found(tmp_path: Path, save: Save, name: str) -> None:
    older, newer = save(tmp_path, 1), save(tmp_path, 2)
    whole = (newer / name).read_bytes()
    for data in (b"", whole[:1], whole[: len(whole) // 2], whole[:-2], whole + b"x"):
        (newer / name).write_bytes(data)
        with pytest.raises(DamagedError, match=name):
            load_checkpoint(newer, with_optimizer=True)
        assert latest_valid(tmp_path) == older
    (newer / name).unlink()
    with pytest.raises(DamagedError, match=name):
        load_checkpoint(newer, with_optimizer=True)
    assert latest_valid(tmp_path) == older


def test_a_damaged_optimizer_does_not_hinder_a_chat(tmp_path: Path, save: Save) -> None:
    path = save(tmp_path, 1)
    (path / "optimizer.safetensors").write_bytes(b"")
    assert load_checkpoint(path).step == 1
    with pytest.raises(DamagedError, match=r"optimizer\.safetensors"):
        load_checkpoint(path, with_optimizer=True)


def test_no_checkpoint(tmp_path: Path) -> None:
    assert latest_valid(tmp_path / "nowhere") is None
    assert latest_valid(tmp_path) is None
    with pytest.raises(MissingError):
        load_checkpoint(tmp_path / "step_000001")


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_half_written_folder_is_ignored_and_removed_by_the_next_save(tmp_path: Path, save: Save) -> None:
    whole = save(tmp_path, 1)
    half = tmp_path / f".step_000002.tmp-{dead_pid()}"
    shutil.copytree(whole, half)
    (half / "manifest.json").unlink()
    living = tmp_path / f".step_000009.tmp-{os.getppid()}"
    living.mkdir()
    assert latest_valid(tmp_path) == whole
    save(tmp_path, 3)
    assert names(tmp_path) == [living.name, "step_000001", "step_000003"]


def test_a_checkpoint_that_stepped_aside_in_vain_still_counts(tmp_path: Path, save: Save) -> None:
    aside = save(tmp_path, 1).rename(tmp_path / f".step_000001.old-{dead_pid()}")
    assert latest_valid(tmp_path) == aside
    assert load_checkpoint(aside).step == 1
    save(tmp_path, 2)
    assert names(tmp_path) == ["step_000001", "step_000002"]


def test_same_step_is_replaced(tmp_path: Path, save: Save) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 1, state={"again": True})
    assert load_checkpoint(path).state == {"again": True}
    assert names(tmp_path) == ["step_000001"]


def test_prune_keeps_the_newest(tmp_path: Path, save: Save) -> None:
    for step in (10, 20, 30, 1_000_000):
        save(tmp_path, step, keep=3)
    assert [path.name for path in step_dirs(tmp_path)] == ["step_1000000", "step_000030", "step_000020"]
    save(tmp_path, 1_000_001, keep=1)
    assert names(tmp_path) == ["step_1000001"]
    with pytest.raises(UsageError, match="keep"):
        save(tmp_path, 1_000_002, keep=0)


def test_prune_never_deletes_the_only_valid_one(tmp_path: Path, save: Save) -> None:
    save(tmp_path, 100)
    (save(tmp_path, 200) / "model.safetensors").write_bytes(b"")
    save(tmp_path, 150, keep=1)  # a run that went back to before the damage
    assert names(tmp_path) == ["step_000150"]
    assert latest_valid(tmp_path) == tmp_path / "step_000150"


def test_prune_leaves_later_whole_ones(tmp_path: Path, save: Save) -> None:
    save(tmp_path, 200)
    save(tmp_path, 150, keep=1)
    assert names(tmp_path) == ["step_000150", "step_000200"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("call", range(1, 10, 2))
def test_a_failing_disk_at_any_write_loses_nothing(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch, number: int, call: int
) -> None:
    older = save(tmp_path, 1)
    calls = 0
    real = os.fsync

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == call:
            raise OSError(number, os.strerror(number))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError) as caught:
        save(tmp_path, 2)
    assert str(tmp_path) in caught.value.message
    assert os.strerror(number) in caught.value.message
    assert caught.value.hint
    assert names(tmp_path) == ["step_000001"]
    assert latest_valid(tmp_path) == older


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)


def test_weights_that_do_not_fit(tmp_path: Path, save: Save, request: pytest.FixtureRequest) -> None:
    older = save(tmp_path, 1)
    request.getfixturevalue("file_size_limit")
    with pytest.raises(StorageError, match=r"model\.safetensors.*File too large"):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step_000001"]
    assert latest_valid(tmp_path) == older


def test_a_file_in_place_of_the_folder(tmp_path: Path, save: Save) -> None:
    (tmp_path / "models").write_text("")
    with pytest.raises(StorageError, match="models") as caught:
        save(tmp_path / "models" / "d4" / "base", 1)
    assert caught.value.hint
    with pytest.raises(StorageError, match="models"):
        latest_valid(tmp_path / "models")


def test_interrupt_removes_the_half_and_keeps_the_old(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1)

    def interrupted(folder: Path, step: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_manifest", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 2)
    assert names(tmp_path) == ["step_000001"]


KILLED = """
import os, signal, sys
from pathlib import Path
from nanochat.checkpoints import store
stage_dir, point = Path(sys.argv[1]), sys.argv[2]
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
class Tokenizer:
    def save(self, folder):
        folder.mkdir()
        (folder / "tokenizer.json").write_text("{}")
if point != "none":
    setattr(store, point, die)
from nanochat.config.model import ModelConfig
store.save_checkpoint(stage_dir, 2, model_state={}, model_config=ModelConfig(), tokenizer=Tokenizer(),
                      state={}, keep=1)
"""


@pytest.mark.parametrize("point", ["write_manifest", "_swap_in", "fsync_dir", "_prune"])
def test_killed_at_any_point_a_whole_checkpoint_is_there(tmp_path: Path, save: Save, point: str) -> None:
    save(tmp_path, 1)
    result = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), point], check=False)
    assert result.returncode == -signal.SIGKILL
    latest = latest_valid(tmp_path)
    assert latest is not None
    assert latest.name == ("step_000001" if point in ("write_manifest", "_swap_in") else "step_000002")
    save(tmp_path, 3, keep=1)
    assert names(tmp_path) == ["step_000003"]
