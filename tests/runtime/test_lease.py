"""Leases: one holder at a time, however holders die."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from nanochat.errors import StorageError
from nanochat.runtime import lease as module
from nanochat.runtime.lease import FOLDER, LeaseKeeper, held

CRASH = """
import os, sys
from pathlib import Path
from nanochat.runtime.lease import LeaseKeeper
assert LeaseKeeper().acquire(Path(sys.argv[1])) is not None
print("held", flush=True)
os.kill(os.getpid(), 9)
"""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def rewrite(path: Path, **holder: object) -> None:
    """The lease as another holder would have written it."""
    (file,) = (path.parent / FOLDER).glob(f"{path.name}.*")
    values = json.loads(file.read_text())
    values["holder"] |= holder
    file.write_text(json.dumps(values))


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with LeaseKeeper() as one, LeaseKeeper() as two:
        lease = one.acquire(path)
        assert lease is not None
        assert lease.valid
        assert two.acquire(path) is None
        assert one.acquire(path) is None
        assert two.acquire(tmp_path / "b") is not None
        lease.release()
        assert not lease.valid
        assert two.acquire(path) is not None
    assert list(tmp_path.iterdir()) == []


def test_names_that_look_alike_are_others(tmp_path: Path) -> None:
    with LeaseKeeper() as keeper:
        for name in ("a", "a.1", "a.b", "a.1.1"):
            assert keeper.acquire(tmp_path / name) is not None


def test_a_killed_process_is_followed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a"
    died = subprocess.run([sys.executable, "-c", CRASH, str(path)], capture_output=True, text=True)
    assert died.stdout == "held\n"
    with LeaseKeeper() as keeper:
        lease = keeper.acquire(path)
        assert lease is not None
        assert [file.name for file in (tmp_path / FOLDER).iterdir()] == ["a.2"]


def test_a_process_with_the_number_of_a_dead_one_is_another(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with LeaseKeeper() as keeper, LeaseKeeper() as other:
        assert keeper.acquire(path) is not None
        rewrite(path, started=1.0)
        assert other.acquire(path) is not None


def test_another_machine_is_dead_when_it_has_not_beaten_for_long(tmp_path: Path) -> None:
    path, clock = tmp_path / "a", Clock()
    with LeaseKeeper(beat_s=99) as far, LeaseKeeper(stale_s=60, now=clock) as near:
        lease = far.acquire(path)
        assert lease is not None
        rewrite(path, machine="elsewhere")
        for _ in range(5):  # it beats: alive, whatever its clock says
            clock.now += 50
            os.utime(lease.file, (clock.now, clock.now))
            assert near.acquire(path) is None
        clock.now += 59
        assert near.acquire(path) is None
        clock.now += 2
        taken = near.acquire(path)
        assert taken is not None
        assert not lease.beat()  # the other wakes up and sees that it is not its any more
        assert not lease.valid
        lease.release()
        assert taken.beat()


def test_a_lease_cut_short_is_only_waited_for(tmp_path: Path) -> None:
    path, clock = tmp_path / "a", Clock()
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "a.1").write_text('{"hol')
    with LeaseKeeper(stale_s=60, now=clock) as keeper:
        assert keeper.acquire(path) is None
        clock.now += 61
        assert keeper.acquire(path) is not None


def test_who_comes_in_between_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead lease is seen; before the next number is made, others take over, end, and a third begins with 1."""
    path = tmp_path / "a"
    subprocess.run([sys.executable, "-c", CRASH, str(path)], capture_output=True)
    with LeaseKeeper() as keeper, LeaseKeeper() as others:
        create = module._create

        def slow(file: Path, text: str) -> bool:
            monkeypatch.setattr(module, "_create", create)
            second = others.acquire(path)
            assert second is not None
            second.release()
            assert others.acquire(path) is not None  # number 1 again
            return create(file, text)

        monkeypatch.setattr(module, "_create", slow)
        assert keeper.acquire(path) is None
        assert [file.name for file in (tmp_path / FOLDER).iterdir()] == ["a.1"]


COUNT = """
import sys, time
from pathlib import Path
from nanochat.runtime.lease import held
path = Path(sys.argv[1])
for _ in range(20):
    with held(path):
        number = int(path.read_text())
        time.sleep(0.001)
        path.write_text(str(number + 1))
"""


def test_nobody_comes_between_reading_and_writing(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    command = [sys.executable, "-c", COUNT, str(path)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    threads = [threading.Thread(target=exec, args=(COUNT.replace("sys.argv[1]", f"'{path}'"), {})) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [process.wait(60) for process in processes] == [0, 0]
    assert path.read_text() == "80"
    assert not (tmp_path / FOLDER).exists()


def test_a_lease_that_nobody_gives_back(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with LeaseKeeper() as keeper:
        assert keeper.acquire(path) is not None
        with pytest.raises(StorageError, match="has held"), held(path, timeout_s=0.1):
            pass


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with LeaseKeeper() as keeper, pytest.raises(StorageError, match="file"):
        keeper.acquire(tmp_path / "file" / "a")
