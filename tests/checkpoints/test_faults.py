"""A save that fails or dies at every single change of the disk, and files that rot: nothing that was whole is lost.

Damage is done at a tenth of the places here; scripts/soak-faults does it all.
"""

from __future__ import annotations

import errno
import functools
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from doubles import tiny_config, tiny_tokenizer
from faults import Disk

from nanochat.checkpoints.background import BackgroundSaver
from nanochat.checkpoints.manifest import read_manifest
from nanochat.checkpoints.selector import load_for_inference
from nanochat.checkpoints.store import latest_valid, load_checkpoint, save_checkpoint
from nanochat.errors import DamagedError, StorageError
from nanochat.runtime.paths import Paths

FLIPS = int(os.environ.get("NANOCHAT_SOAK_FLIPS", "100"))
CUTS = max(10, FLIPS // 10)
SEED = int(os.environ.get("NANOCHAT_SOAK_SEED", "1"))
FILES = (
    "manifest.json",
    "model.json",
    "model.safetensors",
    "optimizer.safetensors",
    "state.json",
    "tokenizer/ranks.tiktoken",
    "tokenizer/tokenizer.json",
)
KEEP = 2
DEAD = 99_999_999  # no process has such an id


def save(stage_dir: Path, step: int) -> Path:
    """A checkpoint full of its step."""
    return save_checkpoint(stage_dir, step, keep=KEEP, **content(step))  # type: ignore[arg-type]


tokenizer = functools.cache(tiny_tokenizer)


def content(step: int) -> dict[str, object]:
    return {
        "model_state": {"w": torch.full((50,), float(step))},
        "optimizer_state": {"m": torch.full((50,), float(-step))},
        "model_config": tiny_config(),
        "tokenizer": tokenizer(),
        "state": {"step": step},
    }


def check_whole(stage_dir: Path) -> int:
    """The step of the newest whole checkpoint, all of which is of that step."""
    newest = latest_valid(stage_dir)
    assert newest is not None
    loaded = load_checkpoint(newest, with_optimizer=True)
    assert loaded.optimizer_state is not None
    assert loaded.model_state["w"].unique().tolist() == [loaded.step]
    assert loaded.optimizer_state["m"].unique().tolist() == [-loaded.step]
    assert loaded.state == {"step": loaded.step}
    return loaded.step


def check_next_save_clears_up(stage_dir: Path) -> None:
    """No hand work: the next save works, is used, and leaves nothing hidden behind."""
    save(stage_dir, 9)
    assert check_whole(stage_dir) == 9
    names = sorted(path.name for path in stage_dir.iterdir())
    assert len(names) <= KEEP
    assert all(name.startswith("step_") for name in names)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here sees what an fsync does: that takes a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=["next", "same", "leftovers"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    """A stage of two checkpoints, and the step saved next: a third, the second again, or a third behind a dead save."""
    folder = tmp_path / "before"
    save(folder, 1)
    save(folder, 2)
    if request.param == "leftovers":
        shutil.copytree(folder / "step_000001", folder / f".step_000003.tmp-{DEAD}")
    return folder, 2 if request.param == "same" else 3


def fresh(folder: Path, before: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(before, folder)
    return folder


def count_changes(folder: Path, before: Path, step: int) -> int:
    """How many changes such a save makes; every kind of them is seen."""
    with Disk(fresh(folder, before)).in_use() as disk:
        save(folder, step)
    assert {"mkdir", "open", "write", "tensors", "chmod", "fsync", "rename", "replace", "unlink", "rmdir"} == set(
        disk.calls
    )
    return len(disk.calls)


@pytest.mark.parametrize(
    ("number", "lasting"),
    [(errno.ENOSPC, False), (errno.EIO, False), (errno.ENOSPC, True), (errno.EROFS, True)],
    ids=["full once", "failing once", "full", "read-only"],
)
def test_an_error_at_every_change(tmp_path: Path, before: tuple[Path, int], number: int, lasting: bool) -> None:
    start, step = before
    folder = tmp_path / "stage"
    outcomes = set()
    for at in range(1, count_changes(folder, start, step) + 1):
        disk = Disk(fresh(folder, start), at, number, lasting=lasting)
        try:
            with disk.in_use():
                save(folder, step)
            outcomes.add("done")  # what could not be deleted waits for the next save
            assert check_whole(folder) == step
        except StorageError as error:
            outcomes.add("failed")
            assert os.strerror(number) in error.message
            assert error.hint
            assert check_whole(folder) in (2, step)
        if at % 3 == 0:
            check_next_save_clears_up(folder)
    assert "failed" in outcomes


def test_what_a_former_life_left_and_cannot_be_deleted_is_named(tmp_path: Path) -> None:
    """In a container every process may have the same id."""
    half = save(tmp_path, 1).rename(tmp_path / f".step_000003.tmp-{os.getpid()}")
    save(tmp_path, 2)
    half.mkdir()
    (half / "model.json").write_text("{}")
    with Disk(half, 1, errno.EIO, lasting=True).in_use(), pytest.raises(StorageError, match="Input/output error"):
        save(tmp_path, 3)
    assert check_whole(tmp_path) == 2
    check_next_save_clears_up(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_on_the_thread_that_saves(tmp_path: Path, number: int) -> None:
    told: list[int] = []
    saver = BackgroundSaver(lambda step, path: told.append(step))
    disk = Disk(tmp_path, 60, number, lasting=True)
    with disk.in_use(), pytest.raises(StorageError, match=os.strerror(number)), saver:
        for step in range(1, 9):
            saver.save(tmp_path, step, keep=KEEP, **content(step))  # type: ignore[arg-type]
    assert check_whole(tmp_path) >= told[-1] >= 1
    check_next_save_clears_up(tmp_path)


KILLED = """
import os, sys
from pathlib import Path
from faults import Disk
from checkpoint_faults import save

os.fsync = lambda descriptor: None
for line in sys.stdin:
    folder, step, at = line.split()
    child = os.fork()
    if not child:
        with Disk(Path(folder), int(at)).in_use():
            save(Path(folder), int(step))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def killed_save() -> Iterator[Callable[[Path, int, int], int]]:
    """`killed_save(folder, step, at)`: a save in a process that dies at its change `at`; its exit status."""
    tests = Path(__file__).parent.parent
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('checkpoint_faults', {str(Path(__file__))!r})\n"
        "module = sys.modules['checkpoint_faults'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n" + KILLED
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *filter(None, sys.path)])}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env=environ,
    ) as process:
        into, out = process.stdin, process.stdout
        assert into is not None
        assert out is not None

        def killed(folder: Path, step: int, at: int) -> int:
            into.write(f"{folder} {step} {at}\n")
            return int(out.readline())

        yield killed


def test_killed_at_every_change(
    tmp_path: Path, before: tuple[Path, int], killed_save: Callable[[Path, int, int], int]
) -> None:
    """Before it where it is a single call, in its middle where bytes are written."""
    start, step = before
    folder = tmp_path / "stage"
    found = []
    for at in range(1, count_changes(folder, start, step) + 1):
        assert killed_save(fresh(folder, start), step, at) == -9
        found.append(check_whole(folder))
        if at % 3 == 0:
            check_next_save_clears_up(folder)
    assert found == sorted(found)  # from some change on it is the new one, and stays so
    assert found[0] == 2
    assert found[-1] == step


class TestRot:
    @pytest.fixture
    def stage_dir(self, tmp_path: Path) -> Path:
        stage_dir = tmp_path / "models" / "toy" / "base"
        save(stage_dir, 1)
        save(stage_dir, 2)
        assert {*read_manifest(stage_dir / "step_000002").files, "manifest.json"} == set(FILES)
        return stage_dir

    def check_found(self, stage_dir: Path, name: str) -> None:
        """Damage of the newest is found before use, its file named, and the checkpoint before it used."""
        damaged = stage_dir / "step_000002"
        with pytest.raises(DamagedError) as caught:
            load_checkpoint(damaged, with_optimizer=True)
        assert str(damaged / name) in caught.value.message
        notices: list[str] = []
        assert latest_valid(stage_dir, notices.append) == stage_dir / "step_000001"
        assert len(notices) == 1
        assert str(damaged / name) in notices[0]

    @pytest.mark.parametrize("name", FILES)
    def test_one_byte_changed_anywhere(self, stage_dir: Path, name: str) -> None:
        dice = random.Random(f"{SEED} {name}")
        path = stage_dir / "step_000002" / name
        whole = path.read_bytes()
        places = range(len(whole)) if len(whole) < FLIPS else dice.choices(range(len(whole)), k=FLIPS)
        for place in places:
            data = bytearray(whole)
            data[place] ^= dice.randint(1, 255)
            path.write_bytes(data)
            self.check_found(stage_dir, name)
        path.write_bytes(whole)
        assert check_whole(stage_dir) == 2

    @pytest.mark.parametrize("name", FILES)
    def test_cut_short_anywhere(self, stage_dir: Path, name: str) -> None:
        dice = random.Random(f"{SEED} {name}")
        path = stage_dir / "step_000002" / name
        whole = path.read_bytes()
        for length in {0, 1, len(whole) - 1, *(dice.randrange(len(whole)) for _ in range(CUTS))}:
            path.write_bytes(whole[:length])
            self.check_found(stage_dir, name)

    def test_white_space_of_the_manifest_is_part_of_it(self, stage_dir: Path) -> None:
        path = stage_dir / "step_000002" / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b" ", b"\t", 1))
        self.check_found(stage_dir, "manifest.json")

    def test_a_manifest_that_was_copied_with_other_line_ends_is_none_the_worse(self, stage_dir: Path) -> None:
        path = stage_dir / "step_000002" / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        assert check_whole(stage_dir) == 2

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_that_the_device_cannot_read(
        self, stage_dir: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = Path.open
        bad = stage_dir / "step_000002" / name

        def failing(path: Path, *args: object, **options: object) -> object:
            if path == bad:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return real(path, *args, **options)  # type: ignore[call-overload]

        monkeypatch.setattr(Path, "open", failing)
        self.check_found(stage_dir, name)

    def test_a_chat_takes_the_one_before_and_says_so(self, stage_dir: Path, tmp_path: Path) -> None:
        path = stage_dir / "step_000002" / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        notices: list[str] = []
        loaded = load_for_inference(Paths(base=tmp_path, cache=tmp_path), "toy", notices.append)
        assert loaded.step == 1
        assert "model.safetensors" in notices[0]
        assert notices[-1] == "using toy:base@1 instead"
