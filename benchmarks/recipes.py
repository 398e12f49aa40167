"""Validation bits per byte of recipes at the same tokens, over several seeds.

    python benchmarks/recipes.py                            depth 4, 1.5M tokens, three seeds: an hour on two cores
    python benchmarks/recipes.py --tokens 20M --threads 8   what a larger machine can say
    python benchmarks/recipes.py --only default,warmdown-0.85 --seeds 5

Every run is `nanochat train base` with a recipe's flags on the same text, tokenizer and batch. Pairs of one seed are
compared, so that what the seed does to both falls out; a difference below two standard errors says nothing.
A run's result is kept in --folder, where one is given: the same command again goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from command import nanochat
from jobs import shards_of

RECIPES: dict[str, tuple[str, ...]] = {
    "default": (),
    "warmdown-0.85": ("--warmdown", "0.85"),
    "warmdown-0.4": ("--warmdown", "0.4"),
    "matrix-lr-0.03": ("--matrix-lr", "0.03"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--sequence-len", type=int, default=512)
    parser.add_argument("--vocab-size", type=int, default=8_192)
    parser.add_argument("--tokens", type=count, default=count("1.5M"), help="of a run")
    parser.add_argument("--batch", type=int, default=8_192, help="tokens of a step")
    parser.add_argument("--eval-tokens", type=int, default=262_144)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", default="", help="recipes, separated by commas")
    parser.add_argument("--data", type=Path, default=None, help="shards (default: base_data of the test data)")
    parser.add_argument("--folder", type=Path, default=None, help="where runs are kept")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    only = [name.strip() for name in args.only.split(",")] if args.only else list(RECIPES)
    if unknown := set(only) - set(RECIPES):
        parser.error(f"no recipe {min(unknown)!r}; choose from {', '.join(RECIPES)}")
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        prepare(args, folder)
        found: dict[str, list[float]] = {name: [] for name in only}
        for seed in range(args.seeds):
            for name in only:
                found[name].append(train(args, folder, name, seed))
                print(f"seed {seed}: {name} {found[name][-1]:.4f}", file=sys.stderr, flush=True)
    rows = [compare(name, found[name], found.get("default")) for name in only]
    settings = {key: value for key, value in vars(args).items() if isinstance(value, int)}
    report = {"settings": settings, "rows": rows}
    print(json.dumps(report, indent=2) if args.json else as_text(report))


def count(text: str) -> int:
    """1.5M is 1,500,000."""
    sizes = {"K": 10**3, "M": 10**6, "B": 10**9}
    return round(float(text.rstrip("KMB")) * sizes.get(text[-1], 1))


def prepare(args: argparse.Namespace, folder: Path) -> None:
    """Text and tokenizer of all runs."""
    source = shards_of(args.data)[0].parent
    (folder / "data").mkdir(parents=True, exist_ok=True)
    if not (folder / "data" / "text").exists():
        (folder / "data" / "text").symlink_to(source.absolute())
    nanochat(folder, "tokenizer", "train", "--data", "text", "--name", "text", "--vocab-size", str(args.vocab_size))


def train(args: argparse.Namespace, folder: Path, recipe: str, seed: int) -> float:
    """Validation bits per byte at the end of a run."""
    steps = max(1, round(args.tokens / args.batch))
    rows = min(args.batch // args.sequence_len, 16)
    told = nanochat(
        folder,
        *("train", "base", "--tag", f"{recipe}-{seed}", "--seed", str(seed), "--data", "text", "--tokenizer", "text"),
        *("--depth", str(args.depth), "--head-dim", "64", "--sequence-len", str(args.sequence_len)),
        *("--num-steps", str(steps), "--total-batch-size", str(args.batch), "--device-batch-size", str(rows)),
        *("--eval-every", "0", "--save-every", "0", "--eval-tokens", str(args.eval_tokens)),
        *("--threads", str(args.threads), *RECIPES[recipe], "--json"),
    )
    return float(json.loads(told)["val_bpb"])


def compare(name: str, values: list[float], base: list[float] | None) -> dict[str, Any]:
    """Mean, spread, and the paired difference to the default with its standard error."""
    row: dict[str, Any] = {"recipe": name, "bpb": values, "mean": statistics.fmean(values)}
    row["spread"] = statistics.stdev(values) if len(values) > 1 else None
    if base and name != "default":
        pairs = [value - other for value, other in zip(values, base, strict=True)]
        row["difference"] = statistics.fmean(pairs)
        row["error"] = statistics.stdev(pairs) / math.sqrt(len(pairs)) if len(pairs) > 1 else None
    return row


def as_text(report: dict[str, Any]) -> str:
    """The table."""
    settings = report["settings"]
    lines = [
        f"depth {settings['depth']}, {settings['tokens'] / 1e6:.3g}M tokens in steps of {settings['batch']:,}, "
        f"vocabulary {settings['vocab_size']:,}, {settings['seeds']} seeds; bits per byte of validation text",
        f"{'':<16} {'mean':>8} {'spread':>8} {'to default':>11} {'error':>8}",
    ]
    for row in report["rows"]:
        figures = [row["mean"], row["spread"], row.get("difference"), row.get("error")]
        mean, spread, difference, error = ("-" if value is None else f"{value:.4f}" for value in figures)
        lines.append(f"{row['recipe']:<16} {mean:>8} {spread:>8} {difference:>11} {error:>8}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
