"""A bundle of four small tasks of all kinds, written where a test wants it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ("red", "green", "blue", "white", "black", "grey", "pink", "brown")

CHOICES: list[dict[str, Any]] = [
    {
        "query": f"Question {n}: what colour is thing number {n}?",
        "choices": [WORDS[(n + k) % 8] for k in range(4)],
        "gold": n % 4,
    }
    for n in range(9)
] + [{"query": "One is the beginning of the other", "choices": ["red", "red and green"], "gold": 0}]
SCHEMAS: list[dict[str, Any]] = [
    {
        "context_options": [f"The {WORDS[n % 8]} cup is full because the cup", f"The {WORDS[n % 8]} cup is full; Ann"],
        "continuation": f"was filled {n} times.",
        "gold": n % 2,
    }
    for n in range(9)
]
TEXTS: list[dict[str, Any]] = [{"context": f" {n} and {n} make ", "continuation": str(2 * n)} for n in range(9)]

TASKS: dict[str, tuple[str, int, str | None, list[dict[str, Any]], float]] = {
    "colours": ("multiple_choice", 3, "\nAnswer: ", CHOICES, 25.0),
    "colours_zeroshot": ("multiple_choice", 0, None, CHOICES, 25.0),
    "cups": ("schema", 2, None, SCHEMAS, 50.0),
    "sums": ("language_modeling", 20, " = ", TEXTS, 0.0),
}


def write_bundle(folder: Path) -> Path:
    """Write it; `sums` shows more examples than there are other items."""
    lines = ["icl_tasks:"]
    for name, (kind, shots, delimiter, items, _) in TASKS.items():
        path = folder / "eval_data" / "small" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        lines += ["-", f"  label: {name}", f"  dataset_uri: small/{name}.jsonl", f"  num_fewshot: [{shots}]"]
        lines += [f"  icl_task_type: {kind}"]
        lines += [f"  continuation_delimiter: {json.dumps(delimiter)}"] if delimiter else []
    (folder / "core.yaml").write_text("\n".join(lines) + "\n")
    chances = "".join(f"{name},{chance}\n" for name, (*_, chance) in TASKS.items())
    (folder / "eval_meta_data.csv").write_text("Eval Task,Random baseline\n" + chances)
    scores = "".join(f"{name:<20}, 0.300000 , 0.100000\n" for name in TASKS)
    published = f"{'Task':<20}, Accuracy , Centered\n{scores}{'CORE':<20},          , 0.100000\n"
    (folder / "openai-community-gpt2.csv").write_text(published)
    return folder
