"""Scripts, their limits, and what is said when a machine cannot run them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from nanochat.errors import UsageError
from nanochat.runtime.sandbox import host, run, seatbelt
from nanochat.runtime.sandbox.confine import Orders
from nanochat.runtime.sandbox.limits import MIB, Limits
from nanochat.runtime.sandbox.result import Isolation, Outcome
from nanochat.runtime.sandbox.run import check_python, reached_isolation, run_python

PATIENT = Limits(wall_s=60.0)


def test_a_script() -> None:
    result = run_python("name = input()\nprint('Hello', name)", stdin="World\n", limits=PATIENT)
    assert (result.outcome, result.stdout, result.stderr, result.detail) == (Outcome.PASSED, "Hello World\n", "", "")
    assert result.isolation is reached_isolation()
    assert 0 < result.seconds < 60
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.outcome = Outcome.FAILED  # type: ignore[misc]


def test_a_script_runs_as_a_script() -> None:
    program = """
import asyncio, atexit, dataclasses, hashlib, re, sqlite3, sys, tempfile, threading
@dataclasses.dataclass
class Point:
    x: int
if __name__ == "__main__":
    atexit.register(print, "at exit")
    threading.Thread(target=lambda: print("thread")).start()
    async def main():
        await asyncio.sleep(0.001)
        return hashlib.sha256(b"x").hexdigest()[:4]
    print(Point(3), re.sub("a", "b", "banana"), asyncio.run(main()), __name__, sys.argv, "nanochat" in sys.path)
    sys.exit()
"""
    result = run_python(program, limits=PATIENT)
    assert result.outcome is Outcome.PASSED, result
    assert sorted(result.stdout.split("\n")) == [
        "",
        "Point(x=3) bbnbnb 2d71 __main__ ['<program>'] False",
        "at exit",
        "thread",
    ]


def test_a_place_to_write() -> None:
    if reached_isolation() < Isolation.FULL:
        pytest.skip(f"needs isolation FULL; this machine allows {reached_isolation().name}")
    program = """
import os, tempfile, pathlib, shutil
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "a"); path.write_text("text"); shutil.copy(path, "b")
print(open("b").read(), os.listdir(), os.getcwd(), os.environ["HOME"])
"""
    assert run_python(program, limits=PATIENT).stdout == "text ['b'] /tmp /tmp\n"


@pytest.mark.parametrize(
    ("program", "outcome", "detail"),
    [
        ("import sys\nsys.exit(3)", Outcome.FAILED, "the program ended with status 3"),
        ("raise ValueError('no\\nway')", Outcome.FAILED, "ValueError: no way"),
        ("x = (", Outcome.FAILED, "SyntaxError: '(' was never closed (<program>, line 1)"),
        ("import os\nos._exit(0)", Outcome.PASSED, ""),
        ("import numpy", Outcome.FAILED, "ModuleNotFoundError: No module named 'numpy'"),
    ],
)
def test_ends(program: str, outcome: Outcome, detail: str) -> None:
    result = run_python(program, limits=PATIENT)
    assert (result.outcome, result.detail) == (outcome, detail)


def test_output_is_cut_at_the_limit() -> None:
    result = run_python("print('x' * 5000)", limits=Limits(output_bytes=1000, wall_s=60))
    assert (result.outcome, result.stdout, result.detail) == (
        Outcome.OUTPUT_LIMIT,
        "x" * 1000,
        "more than 1000 bytes of output",
    )
    assert run_python("print('x' * 999)", limits=Limits(output_bytes=1000, wall_s=60)).passed


def test_long_input() -> None:
    assert run_python("print(len(input()))", stdin="é" * 200_000, limits=PATIENT).stdout == "200000\n"
    assert run_python("print(len(input()))", stdin="\ud800\n", limits=PATIENT).passed
    unread = run_python("print(1)", stdin="x" * 200_000, limits=PATIENT)
    assert (unread.outcome, unread.stdout) == (Outcome.PASSED, "1\n")


def test_limits_are_checked() -> None:
    for wrong in ({"wall_s": 0}, {"memory_bytes": MIB}, {"processes": 0}, {"output_bytes": 0}, {"disk_bytes": 1}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            Limits(**wrong)  # type: ignore[arg-type]


def test_smaller_limits() -> None:
    small = Limits(memory_bytes=100 * MIB, processes=1, disk_bytes=MIB, wall_s=60)
    assert run_python("x = bytearray(120 << 20)", limits=small).outcome is Outcome.OUT_OF_MEMORY
    assert run_python("x = bytearray(120 << 20)", limits=PATIENT).passed
    if reached_isolation() >= Isolation.SYSCALLS:
        assert run_python("import os\nos.fork()", limits=small).detail.startswith("OSError")
        assert not run_python("open('x', 'wb').write(bytes(2 << 20))", limits=small).passed


def test_processes_are_counted_exactly() -> None:
    if reached_isolation() < Isolation.FULL:
        pytest.skip(f"needs isolation FULL; this machine allows {reached_isolation().name}")
    program = (
        "import os, time\nn = 0\ntry:\n    while n < 99:\n        if os.fork() == 0: time.sleep(60)\n        n += 1\n"
    )
    result = run_python(program + "except OSError: print(n)", limits=Limits(processes=7, wall_s=60))
    assert result.stdout == "6\n", result  # and itself


def test_many_at_once() -> None:
    programs = [f"import time\ntime.sleep(0.05)\nprint({n})" for n in range(12)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda program: run_python(program, limits=PATIENT), programs))
    assert [result.stdout for result in results] == [f"{n}\n" for n in range(12)]


def test_nothing_ends_with_a_reward_when_the_machine_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    level = reached_isolation()
    monkeypatch.setattr(run, "_interpreter", lambda: "/does/not/exist")
    result = check_python("x = 1", "assert True")
    assert (result.outcome, result.passed, result.isolation) == (Outcome.INFRASTRUCTURE, False, level)
    assert "no process could be started" in result.detail
    monkeypatch.setattr(run, "_interpreter", lambda: sys.executable)
    monkeypatch.setattr(run, "_command", lambda level: [sys.executable, "-c", "raise SystemExit('no luck')"])
    result = check_python("x = 1", "assert True")
    assert (result.outcome, result.detail) == (
        Outcome.INFRASTRUCTURE,
        "its first process ended with status 1: no luck",
    )
    monkeypatch.setattr(run, "_command", lambda level: [sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(host, "START_S", 0.3)
    assert check_python("x = 1", "assert True").detail == "it did not start within 0 s"


def test_a_level_that_cannot_be_reached_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    level = reached_isolation()
    if level < Isolation.FULL:
        pytest.skip(f"needs isolation FULL; this machine allows {level.name}")
    monkeypatch.setattr(run, "DEVICES", ())
    monkeypatch.setattr(run, "_readable", lambda: ("relative",))  # what cannot be shown
    result = run_python("print(1)")
    assert (result.outcome, result.stdout) == (Outcome.INFRASTRUCTURE, "")


def test_nothing_survives_a_killed_host() -> None:
    code = "from nanochat.runtime.sandbox.run import *\n"
    code += "run_python('import os, time; os.fork(); time.sleep(600)', limits=Limits(wall_s=600))"
    for level in list(Isolation)[reached_isolation() : 0 : -1][:2]:
        forced = (
            f"from nanochat.runtime.sandbox import run\nrun.reached_isolation = lambda: run.Isolation({int(level)})\n"
        )
        with subprocess.Popen([sys.executable, "-c", forced + code]) as process:
            family = wait_for(
                lambda: psutil.Process(process.pid).children(recursive=True), lambda found: len(found) >= 3
            )
            process.kill()
        assert wait_for(lambda family=family: [one for one in family if alive(one)], lambda left: not left) == []


def wait_for(look: Callable[[], list[psutil.Process]], enough: Callable[[list[psutil.Process]], bool]) -> Any:
    until = time.monotonic() + 20
    while not enough(found := look()) and time.monotonic() < until:
        time.sleep(0.01)
    return found


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


ORPHANS = """
import os, time
reading, writing = os.pipe()
for number in range(4):
    if os.fork() == 0:
        try: os.setsid()
        except OSError: pass
        if os.fork() == 0:
            kept = bytearray(SIZE << 20)
            for at in range(0, len(kept), 4096): kept[at] = 1
            os.write(writing, f"{os.getpid()} ".encode())
            time.sleep(1000)
        os._exit(0)
    os.wait()
said = b""
while said.count(b" ") < 4: said += os.read(reading, 100)
os.write(1, said)
time.sleep(WAIT)
"""
"""Daemons in sessions of their own, where that is allowed; each with so many MiB."""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere orphans are the first process's of the machine")
@pytest.mark.parametrize("level", [Isolation.PROCESS, Isolation.SYSCALLS, Isolation.FILES, Isolation.FULL])
@pytest.mark.parametrize("size", [1, 100], ids=["small", "large"])
def test_orphans_are_counted_and_ended(level: Isolation, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no children of the run any more, and below the full level the kernel does not end them with it."""
    if run.reached_isolation() < level:
        pytest.skip(f"needs isolation {level.name}")
    monkeypatch.setattr(run, "reached_isolation", lambda: level)
    wait = 0 if size == 1 else 1000
    result = run_python(ORPHANS.replace("SIZE", str(size)).replace("WAIT", str(wait)), limits=Limits(wall_s=60.0))
    if result.detail.endswith("Function not implemented"):
        pytest.skip("as root, where no user number can be taken, a program may start no process at this level")
    assert result.outcome is (Outcome.PASSED if size == 1 else Outcome.OUT_OF_MEMORY), result
    if level is Isolation.FULL:
        return  # the numbers are those of its own numbering
    assert size > 1 or len(result.stdout.split()) == 4
    until = time.monotonic() + 5
    while left := [pid for pid in map(int, result.stdout.split()) if lives(pid)]:
        assert time.monotonic() < until, left
        time.sleep(0.01)


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Isolation.FULL >= Isolation.FILES > Isolation.SYSCALLS > Isolation.PROCESS > Isolation.NONE
    assert all(level.words for level in Isolation)
    for level in list(Isolation)[1 : reached_isolation() + 1]:
        monkeypatch.setattr(run, "reached_isolation", lambda level=level: level)
        result = run_python("print(1)", limits=PATIENT)
        assert (result.outcome, result.stdout, result.isolation) == (Outcome.PASSED, "1\n", level)
    monkeypatch.setattr(run, "reached_isolation", lambda: Isolation.NONE)
    assert run_python("print(1)").outcome is Outcome.INFRASTRUCTURE


@pytest.mark.skipif(sys.platform != "linux", reason="the levels of Linux")
def test_the_level_is_the_highest_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, real = [], host.run

    def without_namespaces(command: list[str], orders: Orders, *rest: Any) -> Any:
        tried.append(orders.isolation)
        if orders.isolation > Isolation.SYSCALLS:
            raise OSError("none of these here")
        return real(command, orders, *rest)

    monkeypatch.setattr(host, "run", without_namespaces)
    found = reached_isolation.__wrapped__()
    assert found is min(Isolation.SYSCALLS, reached_isolation())
    assert tried == sorted(range(found, Isolation.FULL + 1), reverse=True)


def test_the_profile_for_macos() -> None:
    words = seatbelt.command(["/opt/py thon/bin/python3", "/opt/py thon"], ["/opt/py thon/lib", '/a"b'])
    assert words[:2] == ["/usr/bin/sandbox-exec", "-p"]
    assert '(allow process-exec* (subpath "/opt/py thon/bin/python3") (subpath "/opt/py thon"))' in words[2]
    assert '(allow file-read-data (subpath "/opt/py thon/lib") (subpath "/a\\"b"))' in words[2]
    assert words[2].count("(") == words[2].count(")")
