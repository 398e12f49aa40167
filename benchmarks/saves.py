"""What a checkpoint costs the training: the step it holds up, and the steps while it is being written.

    python benchmarks/saves.py                     depth 4, 8 rows of 512 tokens, vocabulary 16,384, six saves
    python benchmarks/saves.py --saves 3           a shorter run

A save copies weights and momenta and returns; hashing and writing go on beside the steps. Printed are the time of
such a copy alone, how long the loop was held up beyond it, as a share of a step, and how steps during a save compare
with those that had none, which is what the writing takes of the processor. Both kinds alternate in one run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from command import nanochat

EVERY = 5  # steps between saves: some of them are sure to have nothing beside them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--sequence-len", type=int, default=512)
    parser.add_argument("--vocab-size", default="16384")
    parser.add_argument("--saves", type=int, default=6)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        nanochat(base, "data", "pocket", "--size", "12M")
        nanochat(base, "tokenizer", "train", "--vocab-size", args.vocab_size)
        nanochat(
            base,
            *(
                f"train base --tag saves --depth {args.depth} --head-dim 64 --sequence-len {args.sequence_len}"
                f" --device-batch-size {args.rows} --total-batch-size {args.rows * args.sequence_len}"
                f" --num-steps {EVERY * args.saves + 3} --save-every {EVERY} --eval-every 0 --eval-tokens 1"
                f" --sample-every 0 --device cpu --dtype {args.dtype} --compile off"
            ).split(),
        )
        folder = base / "models" / "saves" / "base"
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        found = measured(events) | {"copy_s": copy_seconds(folder)}
    found["held_up"] = max(0.0, found["save_s"] - found["copy_s"]) / found["step_s"]
    if args.json:
        print(json.dumps(found))
        return
    print(f"step without a save beside it   {found['step_s']:.3f} s")
    print(f"copy of weights and momenta     {found['copy_s']:.3f} s")
    print(f"loop held up by a save          {found['save_s']:.3f} s: {found['held_up']:.1%} of a step beyond the copy")
    print(f"written after                   {found['written_s']:.3f} s")
    print(
        f"steps meanwhile                 {found['beside_s']:.3f} s, {found['beside_s'] / found['step_s']:.2f} of one"
    )


def measured(events: list[dict[str, Any]]) -> dict[str, float]:
    """Medians, from the log of a run."""
    ends = {event["step"]: event["time"] for event in events if event["event"] == "StepDone"}
    took = {event["step"]: event["elapsed_s"] for event in events if event["event"] == "StepDone"}
    last = max(took)
    steps = {step: took[step] - took[step - 1] for step in took if step > 1}
    holds, spans = [], []
    for event in events:
        if event["event"] == "BetweenSteps" and event["work"] == "checkpoint" and event["step"] < last:
            holds.append(event["seconds"])
        if event["event"] == "CheckpointSaved" and event["step"] < last:
            spans.append((ends[event["step"]], event["time"]))
    beside = [
        seconds
        for step, seconds in steps.items()
        if any(start < ends[step] - seconds / 2 < end for start, end in spans)
    ]
    alone = [seconds for step, seconds in steps.items() if seconds not in beside and step > EVERY]
    if not alone:
        sys.exit("error: every step had a save beside it\nhint: raise --rows, for longer steps")
    return {
        "step_s": statistics.median(alone),
        "beside_s": statistics.median(beside or alone),
        "save_s": statistics.median(holds),
        "written_s": statistics.median(end - start for start, end in spans),
    }


def copy_seconds(folder: Path) -> float:
    """The time of a copy of all that a checkpoint holds; the best of three."""
    from safetensors.torch import load_file

    newest = max(folder.glob("step_*"))
    tensors = [tensor for file in newest.glob("*.safetensors") for tensor in load_file(file).values()]
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        copies = [tensor.clone() for tensor in tensors]
        best = min(best, time.perf_counter() - started)
        del copies
    return best


if __name__ == "__main__":
    main()
