"""CORE, two ways: one item at a time, and as `nanochat eval base` does it.

    python benchmarks/core.py                      the table that docs/evaluation.md quotes: 24 items of each task
    python benchmarks/core.py --items 2 --tasks copa,arc_easy,jeopardy --json

"one at a time" reads all options of an item whole, side by side, and makes all their logits: what the reference system
does. Ours is `nanochat.evaluation.core.tree`. Both have the same weights and questions and take turns, task by task;
the shortest of all rounds counts, in CPU time of the process, which other programs disturb least. An item
is "same" when both find it right or both wrong.

The model is the one in `parity/core` of the test data, or with --depth a random one.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from jobs import test_data
from safetensors.torch import load_file

from nanochat.config.model import era_config, model_shape
from nanochat.errors import NanochatError
from nanochat.evaluation.core.bundle import CoreTask, open_bundle
from nanochat.evaluation.core.evaluate import evaluate_task
from nanochat.evaluation.core.result import CoreScore
from nanochat.evaluation.core.scoring import PlainScorer, Scorer
from nanochat.evaluation.core.tree import TreeScorer
from nanochat.model.gpt import GPT
from nanochat.runtime.devices import cpu_name
from nanochat.tokenizer.tokenizer import Tokenizer

KINDS = ("multiple_choice", "schema", "language_modeling")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shared", type=Path, help="the test data, by default NANOCHAT_TEST_DATA or ../shared")
    parser.add_argument("--items", type=int, default=24, help="of each task")
    parser.add_argument("--tasks", default="", help="names, separated by commas; by default all 22")
    parser.add_argument("--depth", type=int, default=0, help="a random model of so many layers, 64 channels each")
    parser.add_argument("--sequence-len", type=int, default=2048, help="of the random model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shared = args.shared or test_data()
    try:
        bundle = open_bundle(shared / "data" / "eval_bundle")
    except NanochatError as error:
        sys.exit(f"error: {error.message}")
    names = [task.name for task in bundle.tasks]
    wanted = args.tasks.split(",") if args.tasks else names
    if unknown := [name for name in wanted if name not in names]:
        sys.exit(f"error: no task {unknown[0]!r} among {', '.join(names)}")
    tokenizer, model = load(shared, args.depth, args.sequence_len)
    ways: dict[str, Scorer] = {
        "one at a time": PlainScorer(lambda ids, there: model(ids), model.device, tokens=1),
        "ours": TreeScorer(model),
    }
    rows = [measure(ways, tokenizer, task, args.items, args.rounds) for task in bundle.tasks if task.name in wanted]
    sums = [total(kind, [row for row in rows if row["kind"] == kind]) for kind in KINDS]
    report = {
        "machine": f"{cpu_name()}, {args.threads} threads",
        "rows": rows,
        "sums": [row for row in (*sums, total("all", rows)) if row["items"]],
    }
    print(json.dumps(report, indent=2) if args.json else as_text(report))


def load(shared: Path, depth: int, sequence_len: int) -> tuple[Tokenizer, GPT]:
    """The small model of the reference numbers, or a random one with its tokenizer."""
    core = shared / "parity" / "core"
    expected = json.loads((core / "expected.json").read_text())
    lines = (shared / expected["tokenizer"]).read_text(encoding="ascii").splitlines()
    tokenizer = Tokenizer({base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)})
    if not depth:
        model = GPT(era_config(expected["era"], **expected["model_config"]))
        model.load_state_dict(load_file(core / "weights.safetensors"))
        return tokenizer, model.eval()
    shape = model_shape(depth, head_dim=64)
    torch.manual_seed(0)
    model = GPT(era_config("D", vocab_size=tokenizer.vocab_size, sequence_len=sequence_len, **shape))
    return tokenizer, model.eval()


def measure(ways: dict[str, Scorer], tokenizer: Tokenizer, task: CoreTask, items: int, rounds: int) -> dict[str, Any]:
    """One task, both ways."""
    seconds = dict.fromkeys(ways, float("inf"))
    scores: dict[str, CoreScore] = {}
    for _ in range(rounds):
        for way, scorer in ways.items():
            began = time.process_time()
            scores[way] = evaluate_task(scorer, tokenizer, task, max_per_task=items)
            seconds[way] = min(seconds[way], time.process_time() - began)
    plain, ours = scores.values()
    return {
        "what": task.name,
        "kind": task.kind,
        "items": ours.n,
        "same": sum(a == b for a, b in zip(plain.correct, ours.correct, strict=True)),
        "plain_s": seconds["one at a time"],
        "ours_s": seconds["ours"],
        "speedup": seconds["one at a time"] / seconds["ours"],
    }


def total(what: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All of these together: items per second of the whole."""
    sums = {name: sum(row[name] for row in rows) for name in ("items", "same", "plain_s", "ours_s")}
    return {"what": what, "kind": what, **sums, "speedup": sums["plain_s"] / sums["ours_s"] if rows else 0.0}


def as_text(report: dict[str, Any]) -> str:
    """A table of all rows."""
    head = f"{'':<34} {'items':>6} {'same':>6} {'one at a time':>15} {'ours':>13} {'times':>6}"
    lines = [report["machine"], head]
    for row in (*report["rows"], *report["sums"]):
        rates = (f"{row['items'] / row[name]:,.1f}/s" for name in ("plain_s", "ours_s"))
        plain, ours = rates
        lines.append(
            f"{row['what']:<34} {row['items']:>6} {row['same']:>6} {plain:>15} {ours:>13} {row['speedup']:>6.1f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
