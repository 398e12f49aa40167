"""Two trainings at once on one machine: how much of its fair half each keeps, with our waiting and the library's own.

    python benchmarks/sharing.py
    python benchmarks/sharing.py --steps 30 --words "--depth 6"

A pocket step is timed alone and two at once, first as the command does it and then with threads that wait as long as
the OpenMP library has it (GOMP_SPINCOUNT=300000). Fair would be twice the time of one alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from command import REPOSITORY

WAYS = {"ours": {}, "the library's": {"GOMP_SPINCOUNT": "300000"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=10, help="to time")
    parser.add_argument("--words", default="", help="more options of `nanochat bench train`")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    words = ["bench", "train", "--json", "--steps", str(args.steps), *args.words.split()]
    rows = []
    for who, environ in WAYS.items():
        alone, *_ = at_once(1, words, environ)
        both = at_once(2, words, environ)
        rows.append({"who": who, "alone_s": alone, "both_s": both, "ratio": sum(both) / len(both) / alone})
    if args.json:
        print(json.dumps({"rows": rows}))
        return
    print(f"{'waiting':15}{'alone':>10}{'two at once':>22}{'times':>8}")
    for row in rows:
        both = ", ".join(f"{seconds:.3f} s" for seconds in row["both_s"])
        print(f"{row['who']:15}{row['alone_s']:>8.3f} s{both:>22}{row['ratio']:>8.1f}")


def at_once(count: int, words: list[str], environ: dict[str, str]) -> list[float]:
    """Seconds a step of so many runs side by side."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH")]))
    plain = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-m", "nanochat", *words]
    runs = [
        subprocess.Popen(command, env={**plain, "PYTHONPATH": path, **environ}, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    said = [run.communicate()[0] for run in runs]
    if any(run.returncode for run in runs):
        sys.exit(f"error: {' '.join(words)} failed")
    return [json.loads(text)["speed"]["step_s"] for text in said]


if __name__ == "__main__":
    main()
