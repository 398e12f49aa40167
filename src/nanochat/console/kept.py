"""The lines of a run that stay: the end of a stage, scores, what it has cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from nanochat.console.lines import Board, Part, fit
from nanochat.console.tracker import StageTracker
from nanochat.console.words import duration, loss_text, money, safe, short, size
from nanochat.runtime.events import FIGURES, VALIDATION, Evaluated, StageFinished, is_during_training


def finished_line(event: StageFinished, stage: StageTracker | None, seconds: float, width: int | None) -> Text:
    """`✓ base  110 steps  loss 8.32 → 1.92  val 0.61 bpb  0:58  (15.3k tok/s)`.

    Args:
        event: its summary is believed first.
        stage: what was seen of the stage.
        seconds: it took.
        width: cells, or None.
    """
    head = Part(f"✓ {safe(event.stage)}", "green")
    if event.skipped:
        return fit([head, Part("done before", "dim")], width)
    summary = {key: value for key, value in event.summary.items() if isinstance(value, int | float)}
    parts = [head]
    if stage is not None and stage.training:
        first = summary.get("first_loss", stage.first.loss if stage.first else None)
        last = summary.get("train_loss", stage.last.loss if stage.last else None)
        val = summary.get("val_bpb", stage.val_bpb)
        rate = stage.tokens_per_s
        parts += [
            Part(f"{event.step:,} step{'' if event.step == 1 else 's'}", "", 4),
            Part(_learnt_text(summary, first, last)),
            Part(f"val {loss_text(val)} bpb" if val is not None else "", "", 3),
            Part(duration(seconds), "", 2),
            Part(f"({short(rate)} tok/s)" if rate is not None else "", "dim", 5),
            Part(f"{size(summary['peak_memory_bytes'])} at most" if "peak_memory_bytes" in summary else "", "dim", 6),
        ]
        return fit(parts, width)
    if "shards" in summary:
        parts.append(Part(f"{summary['shards']:,} shard{'' if summary['shards'] == 1 else 's'}"))
    if "bytes" in summary:
        parts.append(Part(size(summary["bytes"])))
    if "vocab_size" in summary:
        parts.append(Part(f"{summary['vocab_size']:,} tokens"))
    parts.append(Part(duration(seconds)))
    if "counting_s" in summary and "merging_s" in summary:
        split = f"(counting {summary['counting_s']:.2f} s, merging {summary['merging_s']:.2f} s)"
        parts.append(Part(split, "dim", 5))
    return fit(parts, width)


def _learnt_text(summary: Mapping[str, float], first: float | None, last: float | None) -> str:
    """How the loss fell, or the reward rose."""
    if "first_reward" in summary and "reward" in summary:
        return f"reward {summary['first_reward']:.2f} → {summary['reward']:.2f}"
    return f"loss {loss_text(first)} → {loss_text(last)}" if first is not None and last is not None else ""


def score_lines(stage: str, scores: Sequence[Evaluated], width: int | None) -> list[Text]:
    """`  sft  facts 98%  arithmetic 96%  counting 92%`, on several lines where it must be.

    What is told during training names its step: `  sft step 250  facts 98%  score 0.95`.
    """
    items = [Part(f"{safe(score.name.removeprefix(VALIDATION))} {_score_text(score)}") for score in scores]
    during = all(is_during_training(score.name) for score in scores)
    head = f"{safe(stage)} step {scores[0].step:,}" if during else f"{safe(stage):<4}"
    return fold(f"  {head}  ", items, width)


def spent_line(board: Board, now: float) -> Text:
    """What this command has cost."""
    seconds = now - board.started_at
    spent, price = board.cost(seconds), money(board.price_per_hour or 0.0)
    return fit([Part(f"  {money(spent or 0.0)} for {duration(seconds)} at {price} an hour", "dim")], None)


def fold(head: str, items: Sequence[Part], width: int | None) -> list[Text]:
    """`head` and all items, on as many lines as `width` asks for; later ones begin below the first item."""
    lines: list[list[Part]] = [[]]
    room = None if width is None else width - Text(head).cell_len
    for item in items:
        if lines[-1] and room is not None and fit([*lines[-1], item], None).cell_len > room:
            lines.append([])
        lines[-1].append(item)
    indent = " " * Text(head).cell_len
    return [Text(indent if at else head) + fit(line, room) for at, line in enumerate(lines)]


def _score_text(score: Evaluated) -> str:
    if not math.isfinite(score.value):
        return "?"
    return f"{score.value:.3f}" if score.name in FIGURES else f"{score.value:.0%}"
