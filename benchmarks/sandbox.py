"""What a run in the sandbox costs over a bare start of the interpreter.

    python benchmarks/sandbox.py                   the table that docs/sandbox.md quotes
    python benchmarks/sandbox.py --rounds 3 --json

A round starts the interpreter by itself (`python -I -S`, which skips everything it can), then the same program in the
sandbox as a script, then one function with a check. Each is compared with the bare start of its own round, so that
other programs on the machine disturb both alike; the medians of the differences count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from nanochat.runtime.devices import cpu_name
from nanochat.runtime.sandbox.run import check_python, reached_isolation, run_python

PROGRAM = "print(1)"
FUNCTION, CHECK = "def add(a, b):\n    return a + b\n", "assert add(2, 3) == 5\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    ways: dict[str, Callable[[], bool]] = {"script": script, "checked function": checked}
    ours: dict[str, list[float]] = {way: [] for way in ways}
    bare_s = []
    for _ in range(args.rounds + 1):
        bare_s.append(seconds(bare))
        for way, act in ways.items():
            ours[way].append(seconds(act) - bare_s[-1])
    rows = [
        {
            "way": way,
            "overhead_ms": 1000 * statistics.median(differences[1:]),  # the first round warms files and memory
            "overhead_ms_p90": 1000 * sorted(differences[1:])[int(0.9 * args.rounds)],
        }
        for way, differences in ours.items()
    ]
    machine, isolation = cpu_name(), reached_isolation()
    bare_ms = 1000 * statistics.median(bare_s[1:])
    if args.json:
        settings = {"machine": machine, "isolation": isolation.name, "rounds": args.rounds}
        print(json.dumps({**settings, "bare_ms": bare_ms, "rows": rows}, indent=2))
        return
    print(f"{machine}; isolation {isolation.words}")
    print(f"{'bare interpreter':20} {bare_ms:7.1f} ms")
    for row in rows:
        print(f"{row['way']:20} {row['overhead_ms']:+7.1f} ms   (90% under {row['overhead_ms_p90']:+.1f} ms)")


def bare() -> bool:
    """The interpreter alone."""
    return subprocess.run([sys.executable, "-I", "-S", "-c", PROGRAM], capture_output=True, check=True).stdout == b"1\n"


def script() -> bool:
    """A script in the sandbox."""
    return run_python(PROGRAM).stdout == "1\n"


def checked() -> bool:
    """A function in the sandbox, and its check beside it."""
    return check_python(FUNCTION, CHECK).passed


def seconds(act: Callable[[], bool]) -> float:
    """Time of one run, which must do what it should."""
    began = time.perf_counter()
    if not act():
        sys.exit(f"error: {act.__name__} failed")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
