"""Whether each stage teaches: scores of base, mid, sft and rl on the pocket tasks, over seeds.

    python benchmarks/stages.py                        the whole pipeline with three seeds, 9 minutes each on two cores
    python benchmarks/stages.py --from DIR             base, mid and sft of the model there, rl with three seeds
    python benchmarks/stages.py --from DIR --seeds 42  one of them

Each stage is what `nanochat speedrun pocket` makes of it, and is scored by `nanochat eval chat` on the same held-out
test problems. A cell is the mean over seeds, with the 95% interval of a proportion over the problems of one seed, since
all are asked the same, and the lowest and highest seed behind it. What stopped half-way goes on when --keep names a
folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from command import REPOSITORY, nanochat

sys.path.insert(0, str(REPOSITORY / "src"))

from nanochat.config.fields import options_of
from nanochat.config.rl import RlConfig
from nanochat.config.speedrun import SpeedrunConfig, pocket_recipe
from nanochat.evaluation.interval import wilson

TAG = "pocket"
STAGES = ("base", "mid", "sft", "rl")

Cell = dict[str, Any]
"""A task after a stage: mean, low, high, the share of each seed, n."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--from", dest="source", type=Path, help="base folder with the model pocket: only rl is trained"
    )
    parser.add_argument("--seeds", default="42,43,44", help="separated by commas")
    parser.add_argument("--problems", type=int, default=200, help="of each task")
    parser.add_argument("--keep", type=Path, help="folder for what is trained; by default a temporary one")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    runs = []
    with ExitStack() as stack:
        scratch = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for seed in seeds:
            runs.append(run(scratch / f"seed{seed}", seed, args.source, args.problems))
            told = ", ".join(f"{stage} {runs[-1]['seconds'][stage]:.0f} s" for stage in runs[-1]["seconds"])
            print(f"seed {seed}: {told}", file=sys.stderr, flush=True)
    cells = {
        stage: {
            # with --from there is one model before rl
            task: cell(runs[:1] if args.source and stage != "rl" else runs, stage, task)
            for task in runs[0]["tasks"][stage]
        }
        for stage in STAGES
    }
    report = {"seeds": seeds, "problems": args.problems, "only_rl": args.source is not None, "cells": cells}
    if args.json:
        print(json.dumps({**report, "runs": runs}))
        return
    print("\n".join(table(cells)))


def run(base: Path, seed: int, source: Path | None, problems: int) -> dict[str, Any]:
    """Train what one seed needs, score it, and read what came of it."""
    models = base / "models" / TAG
    if source is None:
        nanochat(base, "speedrun", "pocket", "--seed", str(seed))
    elif not models.exists():
        shutil.copytree(source / "models" / TAG, models, ignore=shutil.ignore_patterns("rl", "report.md"))
        if (source / "cache").is_dir():  # of compiled steps
            shutil.copytree(source / "cache", base / "cache")
    nanochat(base, "train", "rl", *rl_words(seed))
    for stage in STAGES:
        scored = base / "models" / TAG / stage / "eval" / "pocket.json"
        if not scored.exists() or json.loads(scored.read_text())["max_problems"] != problems:
            nanochat(base, "eval", "chat", f"{TAG}:{stage}", "--max-problems", str(problems))
    finished = {stage: json.loads((models / stage / "finished.json").read_text()) for stage in STAGES}
    return {
        "seed": seed,
        "tasks": {
            stage: json.loads((models / stage / "eval" / "pocket.json").read_text())["tasks"] for stage in STAGES
        },
        "seconds": {stage: wall_seconds(models / stage / "events.jsonl") for stage in STAGES},
        "finished": finished,
    }


def rl_words(seed: int) -> list[str]:
    """The settings of the pocket recipe's rl, as flags."""
    config = pocket_recipe(SpeedrunConfig(seed=seed, rl=True)).rl
    words = []
    for spec in options_of(RlConfig):
        value = getattr(config, spec.name)
        if value != spec.default:
            words += [spec.flags[0], spec.to_text(value)]
    return words


def wall_seconds(log: Path) -> float:
    """From the beginning of a stage to its end, with evaluations and checkpoints."""
    times = [json.loads(line) for line in log.read_text().splitlines()]
    begun = max(event["time"] for event in times if event["event"] == "StageStarted")
    ended = [event["time"] for event in times if event["event"] == "StageFinished" and not event.get("skipped")]
    return float(max(ended, default=time.time()) - begun)


def cell(runs: list[dict[str, Any]], stage: str, task: str) -> Cell:
    """One task after one stage, over all seeds."""
    shares = [run["tasks"][stage][task]["accuracy"] for run in runs]
    problems = runs[0]["tasks"][stage][task]["n"]
    mean = sum(shares) / len(shares)
    low, high = wilson(mean * problems, problems)
    return {"mean": mean, "low": low, "high": high, "seeds": shares, "n": problems}


def table(cells: dict[str, dict[str, Cell]]) -> list[str]:
    """Markdown, and what the stages promise beneath it."""
    lines = [f"| task | {' | '.join(STAGES)} |", f"| --- |{' ---: |' * len(STAGES)}"]
    for task in cells["base"]:
        lines.append(f"| {task} | {' | '.join(_text(cells[stage][task]) for stage in STAGES)} |")
    before, after = (cells[stage]["problems"]["seeds"] for stage in ("sft", "rl"))
    gains = [100 * (late - early) for early, late in zip(before * (len(after) // len(before)), after, strict=True)]
    mean = sum(gains) / len(gains)
    lines += ["", f"rl lifts problems by {mean:.1f} points; by seed {', '.join(f'{gain:.1f}' for gain in gains)}"]
    lines += [
        f"not lifted above base by mid, its interval included: {_named(cells, 'base', 'mid', _lifted)}",
        f"under 90% after mid and not lifted by sft: {_named(cells, 'mid', 'sft', _improved)}",
    ]
    for before, after in (("mid", "sft"), ("sft", "rl")):
        lines.append(f"{after} is below {before} beyond its interval in: {_named(cells, before, after, _kept)}")
    return lines


def _named(cells: dict[str, dict[str, Cell]], before: str, after: str, holds: Callable[[Cell, Cell], bool]) -> str:
    """The tasks for which it does not hold."""
    return ", ".join(task for task in cells[after] if not holds(cells[before][task], cells[after][task])) or "none"


def _lifted(before: Cell, after: Cell) -> bool:
    return bool(after["low"] > before["mean"])


def _improved(before: Cell, after: Cell) -> bool:
    return bool(before["mean"] >= 0.9 or after["mean"] > before["mean"])


def _kept(before: Cell, after: Cell) -> bool:
    return bool(after["high"] >= before["mean"])


def _text(scores: Cell) -> str:
    text = f"{scores['mean']:.1%} ({100 * scores['low']:.1f} to {100 * scores['high']:.1f})"
    if len(set(scores["seeds"])) > 1:
        text += f", {100 * min(scores['seeds']):.0f} to {100 * max(scores['seeds']):.0f}"
    return text


if __name__ == "__main__":
    main()
