"""Training steps of the same model, three ways: ours, plain float32 and plain bfloat16, all compiled.

    python benchmarks/train.py                        the table that README quotes: depth 4, 8 rows of 512 tokens
    python benchmarks/train.py --depth 2 --rows 2 --sequence-len 128 --vocab-size 512 --rounds 1 --compile off
    python benchmarks/train.py --loss 200 --seeds 3   whether ours learns as plain float32 does, on real text

"ours" is what a training stage runs: bfloat16, our loss and our attention. "plain" is the straightforward form of the
same network: F.linear with the weights cast to the dtype, torch's attention, all logits at once, softcap,
cross-entropy. All three have the same weights, batches and optimizer.

Each has a process of its own (`train_child.py`), for its memory; they take turns, round after round, and the best
round counts, so that other programs on the machine disturb all alike. Time alone says little: read the ratios. Memory
is the peak of the process above what it held before the model was made.

With --loss the ways are compared by their loss on validation text after so many steps of the default schedule. A seed
chooses starting weights and text, and runs of one seed are compared. Training is chaotic: float32 itself ends
elsewhere from starting weights that differ by a rounding. "nudged float32" does so, and shows how far: a difference
of one run within that noise, or of a mean within two standard errors, says nothing about a number format.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs import text_folder
from train_child import HELD_OUT_TOKENS, NUDGED, WAYS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--rows", type=int, default=8, help="rows of a step")
    parser.add_argument("--sequence-len", type=int, default=512)
    parser.add_argument("--vocab-size", type=int, default=32_768)
    parser.add_argument("--window-pattern", default="L")
    parser.add_argument("--threads", type=int, default=0, help="0 uses every core")
    parser.add_argument("--compile", choices=("on", "off"), default="on")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps of a round")
    parser.add_argument("--only", default="", help="ways, separated by commas")
    parser.add_argument("--loss", type=int, default=0, metavar="STEPS", help="compare losses after so many steps")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each way, for --loss")
    parser.add_argument("--warmdown", type=float, default=0.65, help="last share of --loss in which the rate falls")
    parser.add_argument(
        "--data", type=Path, default=None, help="shards for --loss (default: base_data of the test data)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    ways = ["plain float32", NUDGED, "plain bfloat16", "ours"] if args.loss else list(WAYS)
    only = [way.strip() for way in args.only.split(",")] if args.only else ways
    if unknown := set(only) - set(ways):
        parser.error(f"no way {min(unknown)!r}; choose from {', '.join(ways)}")
    with tempfile.TemporaryDirectory() as scratch:
        rows = compare_losses(args, only, Path(scratch)) if args.loss else compare_speed(args, only)
    settings = {name: value for name, value in vars(args).items() if name not in ("json", "data", "only")}
    report = {"machine": machine(), "settings": settings, "rows": rows}
    print(json.dumps(report, indent=2) if args.json else as_text(report))


class Child:
    """A process that takes steps when told."""

    def __init__(self, args: argparse.Namespace, way: str, seed: int = 0, texts: str = "") -> None:
        order = {k: v for k, v in vars(args).items() if isinstance(v, int | float | str)}
        order |= {"way": way, "seed": seed, "texts": texts}
        command = [sys.executable, str(Path(__file__).with_name("train_child.py")), json.dumps(order)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, steps: int) -> Any:
        """What the child says after so many steps."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"error: a process ended with {self.process.wait()}\nhint: its own words stand above")
        return json.loads(line)

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def compare_speed(args: argparse.Namespace, only: list[str]) -> list[dict[str, Any]]:
    """Tokens per second and memory of each way."""
    children = {way: Child(args, way) for way in only}
    first = {way: child.ask(1) for way, child in children.items()}  # compiles, one after the other
    best = dict.fromkeys(only, math.inf)
    optimizer = dict.fromkeys(only, math.inf)
    said: dict[str, Any] = {}
    for _ in range(args.rounds):
        for way, child in children.items():
            said[way] = child.ask(args.steps)
            best[way] = min(best[way], said[way]["seconds"] / args.steps)
            optimizer[way] = min(optimizer[way], said[way]["optimizer_s"] / args.steps)
    for child in children.values():
        child.close()
    rows = []
    for way in only:
        rows.append(
            {
                "way": way,
                "tokens_per_s": args.rows * args.sequence_len / best[way],
                "optimizer_share": optimizer[way] / best[way],
                "peak_bytes": said[way]["peak_bytes"],
                "first_step_s": first[way]["seconds"],
            }
        )
    by_way = {row["way"]: row for row in rows}
    for row in rows:
        for other in ("plain float32", "plain bfloat16"):
            if other in by_way:
                row[f"speed_of_{other.replace(' ', '_')}"] = row["tokens_per_s"] / by_way[other]["tokens_per_s"]
                row[f"memory_of_{other.replace(' ', '_')}"] = row["peak_bytes"] / by_way[other]["peak_bytes"]
    return rows


def compare_losses(args: argparse.Namespace, only: list[str], scratch: Path) -> list[dict[str, Any]]:
    """Loss on validation text at the end of short runs, by way; seeds one after the other, told on stderr."""
    write_tokens(args, scratch)
    found: dict[str, list[float]] = {way: [] for way in only}
    for seed in range(args.seeds):
        for way in only:
            child = Child(args, way, seed, str(scratch))
            said = child.ask(args.loss)
            child.close()
            found[way].append(said["held_out"])
            print(f"seed {seed}: {way} {said['losses'][0]:.4f} to {said['held_out']:.4f}", file=sys.stderr, flush=True)
    return [compare(way, found[way], found.get("plain float32")) for way in only]


def compare(way: str, losses: list[float], exact: list[float] | None) -> dict[str, Any]:
    """The mean, and what a run differs from float32's of its seed: on the mean, its error, and for one run alone."""
    row: dict[str, Any] = {"way": way, "losses": losses, "loss": statistics.fmean(losses)}
    row |= dict.fromkeys(("from_float32", "error", "of_one_run"))
    if exact and way != "plain float32":
        pairs = [loss / other - 1 for loss, other in zip(losses, exact, strict=True)]
        row["from_float32"] = statistics.fmean(pairs)
        row["of_one_run"] = math.sqrt(statistics.fmean(pair**2 for pair in pairs))
        row["error"] = statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else None
    return row


def write_tokens(args: argparse.Namespace, scratch: Path) -> None:
    """Ids of real text to learn from and to be tried on, with a vocabulary learnt from the former."""
    import numpy as np

    from nanochat.data.dataset import DataSet
    from nanochat.tokenizer.train import learn

    folder = text_folder(args.data)
    shards = DataSet.open(folder)
    needed = args.loss * args.rows * args.sequence_len + 1
    texts = read_texts(shards.train, max(6 * needed, 20_000_000))  # over 4 bytes a token; enough to learn words from
    tokenizer = learn(texts, args.vocab_size).tokenizer
    for name, some, count in (
        ("train", texts, needed),
        ("held_out", read_texts((shards.validation,), 6 * HELD_OUT_TOKENS), args.sequence_len + 1),
    ):
        ids, offsets = tokenizer.encode_arrays(some)
        stream = np.insert(ids.astype(np.int64), offsets[:-1].astype(np.int64), tokenizer.bos)
        if len(stream) < count:
            sys.exit(f"error: {folder} has {len(stream)} tokens to {name}, the run takes {count}\nhint: lower --loss")
        np.save(scratch / f"{name}.npy", stream)


def read_texts(shards: Sequence[Path], size: int) -> list[str]:
    """Documents from the beginning of `shards`, of at least `size` characters where there are as many."""
    from nanochat.data.shards import read_group, row_groups

    texts: list[str] = []
    for shard in shards:
        for group in range(row_groups(shard)):
            if size > 0:
                texts += (found := read_group(shard, group))
                size -= sum(map(len, found))
    return texts


def machine() -> dict[str, Any]:
    """Where this ran."""
    from nanochat.runtime.devices import describe_machine

    return describe_machine()


def as_text(report: dict[str, Any]) -> str:
    """The table."""
    rows, settings = report["rows"], report["settings"]
    head = (
        f"{report['machine']['cpu']}, {report['machine']['cores']} cores, torch {report['machine']['torch']}\n"
        f"depth {settings['depth']}, {settings['rows']} rows of {settings['sequence_len']} tokens, "
        f"vocabulary {settings['vocab_size']:,}\n"
    )
    if "loss" in rows[0]:
        lines = [
            f"loss on validation text after {settings['loss']} steps, {settings['seeds']} seeds",
            f"{'':<16} {'loss':>8} {'from float32':>13} {'error':>8} {'one run':>8}",
        ]
        for row in rows:
            away, error, one = (
                "-" if value is None else f"{value:{sign}.3%}"
                for value, sign in ((row["from_float32"], "+"), (row["error"], ""), (row["of_one_run"], ""))
            )
            lines.append(f"{row['way']:<16} {row['loss']:>8.4f} {away:>13} {error:>8} {one:>8}")
        return head + "\n".join(lines)
    lines = [
        f"{'':<16} {'tokens/s':>9} {'of float32':>11} {'memory':>10} {'of float32':>11} {'optimizer':>10} {'first':>8}"
    ]
    for row in rows:
        speed, memory = (row.get(f"{what}_of_plain_float32") for what in ("speed", "memory"))
        lines.append(
            f"{row['way']:<16} {row['tokens_per_s']:>9,.0f} {_times(speed):>11} {row['peak_bytes'] / 2**20:>6,.0f} MiB"
            f" {_times(memory):>11} {row['optimizer_share']:>10.1%} {row['first_step_s']:>6.1f} s"
        )
    return head + "\n".join(lines)


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"


if __name__ == "__main__":
    main()
