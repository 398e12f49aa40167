"""Weak scaling: tokens per second of two processes against one, each with the same rows and one thread.

    python benchmarks/scaling.py                     depth 4, 4 rows of 512 tokens a process, three turns each
    python benchmarks/scaling.py --processes 1,2,4   on a machine with more cores

Twice the processes do twice the work in a step, so the best that can come out is the same time: a ratio of 2.0 in
tokens per second. Runs of each kind take turns; the best median of their steps counts, so that a machine that is busy
meanwhile misleads less. What is measured is `nanochat train base` as started by torchrun, with the exchange of
gradients. "Apart" are as many runs of one process each at the same time, which exchange nothing: what the cores and the
memory of this machine allow.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from command import nanochat

SKIPPED = 3  # first steps of a run, which warm up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", default="1,2", help="numbers of processes, separated by commas")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--sequence-len", type=int, default=512)
    parser.add_argument("--rows", type=int, default=4, help="of a process")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    numbers = [int(number) for number in args.processes.split(",")]
    seconds: dict[int, list[float]] = {number: [] for number in numbers}
    apart: dict[int, list[float]] = {number: [] for number in numbers}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        nanochat(base, "data", "pocket", "--size", "2M")
        nanochat(base, "tokenizer", "train", "--vocab-size", "4096")
        for turn in range(args.turns):
            for number in numbers:
                seconds[number].append(step_seconds(args, base, number, f"turn{turn}-{number}"))
                apart[number].append(apart_seconds(args, base, number, f"apart{turn}-{number}"))
                told = (
                    f"turn {turn + 1}: {number} processes, {seconds[number][-1]:.3f} s, apart {apart[number][-1]:.3f} s"
                )
                print(told, file=sys.stderr, flush=True)
    first = numbers[0]
    rows = []
    for number in numbers:
        rate = number * args.rows * args.sequence_len / min(seconds[number])
        one = first * args.rows * args.sequence_len / min(seconds[first])
        limit = number / first * min(apart[first]) / min(apart[number])
        rows.append({"processes": number, "tokens_per_s": rate, "ratio": rate / one, "apart": limit})
    if args.json:
        print(json.dumps({"rows": rows, "seconds": seconds, "apart": apart}))
        return
    print(f"{'processes':>9} {'tok/s':>8} {'ratio':>6} {'apart':>6}")
    for row in rows:
        print(f"{row['processes']:>9} {row['tokens_per_s']:>8,.0f} {row['ratio']:>6.2f} {row['apart']:>6.2f}")


def apart_seconds(args: argparse.Namespace, base: Path, processes: int, tag: str) -> float:
    """Median time of a step of so many runs at the same time, the slowest of them."""
    with ThreadPoolExecutor(processes) as pool:
        return max(pool.map(lambda number: step_seconds(args, base, 1, f"{tag}-{number}"), range(processes)))


def step_seconds(args: argparse.Namespace, base: Path, processes: int, tag: str) -> float:
    """Median time of a step."""
    words = (
        f"train base --tag {tag} --depth {args.depth} --head-dim 64 --sequence-len {args.sequence_len}"
        f" --device-batch-size {args.rows} --total-batch-size {processes * args.rows * args.sequence_len}"
        f" --num-steps {args.steps} --eval-every 0 --eval-tokens 1 --save-every 0 --sample-every 0"
        f" --device cpu --dtype {args.dtype} --compile off --threads 1"
    ).split()
    nanochat(base, *words, processes=processes, threads=1)
    events = (base / "models" / tag / "base" / "events.jsonl").read_text().splitlines()
    ends = [event["elapsed_s"] for event in map(json.loads, events) if event["event"] == "StepDone"]
    return statistics.median(end - start for start, end in zip(ends[SKIPPED:], ends[SKIPPED + 1 :], strict=False))


if __name__ == "__main__":
    main()
