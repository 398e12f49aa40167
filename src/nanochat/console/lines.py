"""What a run looks like: the three lines of the live block, and the lines that stay.

A line is a list of parts; where it is too long, the least important parts are left out. Foreign text goes
through `safe` and never through rich's markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.text import Text

from nanochat.console.tracker import StageTracker
from nanochat.console.words import bar, duration, loss_text, safe, short, size, sparkline
from nanochat.runtime.events import Evaluated, StageFinished

BLOCK_LINES = 3


class Part(NamedTuple):
    """A piece of a line; the greater `rank`, the sooner it is left out, 0 never."""

    text: str
    style: str = ""
    rank: int = 0


@dataclass(slots=True)
class Board:
    """What the live block shows. `finished` holds seconds, None for a stage that was done before."""

    stages: list[str]
    finished: dict[str, float | None] = field(default_factory=dict)
    current: StageTracker | None = None
    compiled: bool = False  # an earlier stage of this run compiled already: the next one is quicker


def fit(parts: Sequence[Part], width: int | None, gap: str = "  ") -> Text:
    """One line of at most `width` cells (None: as long as it is)."""
    kept = [part for part in parts if part.text]
    while True:
        line = Text(gap, end="").join(Text(part.text, part.style, end="") for part in kept)
        line.no_wrap = True
        dropped = max((part for part in kept if part.rank), key=lambda part: part.rank, default=None)
        if width is None or line.cell_len <= width:
            return line
        if dropped is None:
            line.truncate(width, overflow="ellipsis")
            return line
        kept.remove(dropped)


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


def block(board: Board, width: int, now: float) -> list[Text]:
    """The live block: always `BLOCK_LINES` lines, each of at most `width` cells.

    Args:
        board: what is known.
        width: cells.
        now: of the clock that the trackers were given.
    """
    stage = board.current
    if stage is None:
        coming = next((name for name in board.stages if name not in board.finished), None)
        below = [Part(f"  preparing {safe(coming)}…" if coming else "", "dim")]
        return [stage_line(board, width, now), fit(below, width), Text()]
    return [
        stage_line(board, width, now),
        _bar_line(stage, width, now),
        _figures_line(board, stage, width, now),
    ]


def stage_line(board: Board, width: int, now: float) -> Text:
    """Every stage with its mark; shorter forms where the long one does not fit."""
    current = board.current.name if board.current else None
    long, brief = [], []
    done = waiting = 0
    for name in board.stages:
        label = safe(name)
        if name == current:
            part = plain = Part(f"▸ {label}", "bold cyan")
        elif name in board.finished:
            seconds = board.finished[name]
            took = f" {duration(seconds)}" if seconds is not None else ""
            part, plain = Part(f"✓ {label}{took}", "green"), Part(f"✓ {label}", "green")
            done += 1
        else:
            part = plain = Part(f"· {label}", "dim")
            waiting += 1
        long.append(part)
        brief.append(plain)
    counted = [
        Part(f"✓ {done} done" if done else "", "green"),
        Part(f"▸ {safe(current)}" if current else "", "bold cyan"),
        Part(f"· {waiting} to come" if waiting else "", "dim"),
    ]
    for parts in (long, brief):
        line = fit(parts, None)
        if line.cell_len <= width:
            return line
    return fit(counted, width)


def _bar_line(stage: StageTracker, width: int, now: float) -> Text:
    fraction = stage.fraction
    filled, open_ = bar(fraction or 0.0, min(40, max(10, width - 40)))
    left = stage.left(now)
    if _before_first_step(stage):
        time_left = f"elapsed {duration(stage.elapsed(now))}"  # the line below is taken by words
    elif fraction == 1.0:
        time_left = "finishing…" if stage.training else ""
    else:
        time_left = f"{duration(left)} left" if left is not None else ""
    tail = fit(
        [
            Part(f"{percent:3}%" if (percent := stage.percent) is not None else ""),
            Part(amount_text(stage), "", 2),
            Part(time_left, "bold", 1),
        ],
        max(0, width - len(filled + open_) - 4),
    )
    line = Text.assemble("  ", (filled, "cyan"), (open_, "dim"), "  ", tail, no_wrap=True)
    line.truncate(width, overflow="ellipsis")
    return line


def _figures_line(board: Board, stage: StageTracker, width: int, now: float) -> Text:
    if _before_first_step(stage):
        return fit([Part("  " + first_step_text(board, stage), "yellow")], width)
    elapsed = Part(f"elapsed {duration(stage.elapsed(now))}", "dim", 1)
    if stage.last is not None:
        return fit(
            [
                Part(f"  loss {loss_text(stage.last.loss)}", "bold"),
                Part(sparkline(stage.losses, min(30, max(8, width - 54))), "cyan", 3),
                Part(f"{short(stage.last.tokens_per_s)} tok/s", "", 2),
                Part(_mfu_text(stage), "", 5),
                elapsed,
                Part(_val_text(stage), "", 4),
            ],
            width,
        )
    rate = rate_text(stage)
    return fit([Part(f"  {elapsed.text}", "dim"), Part(rate, "", 1), Part(safe(stage.detail))], width)


def _before_first_step(stage: StageTracker) -> bool:
    return stage.training and stage.last is None


def first_step_text(board: Board, stage: StageTracker) -> str:
    """What happens between the start of training and its first step."""
    if not stage.compiles:
        return "taking the first step…"
    return f"compiling the training step{'' if board.compiled else ' (once, about a minute)'}…"


def amount_text(stage: StageTracker) -> str:
    """46/110 steps, 6.0/12.0 MB, 1.2M/8.0M characters."""
    if stage.total <= 0:
        return ""
    if stage.unit == "bytes":
        done, total = size(stage.done), size(stage.total)
        number, unit = done.split()
        return f"{number if total.endswith(f' {unit}') else done}/{total}"
    if max(stage.done, stage.total) >= 1e6:
        return f"{short(stage.done)}/{short(stage.total)} {safe(stage.unit)}"
    return f"{int(stage.done):,}/{int(stage.total):,} {safe(stage.unit)}"


def rate_text(stage: StageTracker) -> str:
    """5.2 MB/s; none for what is counted in ones, such as tasks."""
    rate = stage.pace.rate
    if rate is None or stage.unit in ("", "tasks"):
        return ""
    return f"{size(rate)}/s" if stage.unit == "bytes" else f"{short(rate)} {safe(stage.unit)}/s"


def log_line(stage: StageTracker, now: float) -> Text:
    """The state as one line, for a log."""
    percent = stage.percent
    left = stage.left(now)
    parts = [Part(f"  {safe(stage.name)}"), Part(amount_text(stage))]
    parts.append(Part(f"{percent}%" if percent is not None else ""))
    if stage.last is not None:
        parts += [
            Part(f"loss {loss_text(stage.last.loss)}"),
            Part(_val_text(stage)),
            Part(f"{short(stage.last.tokens_per_s)} tok/s"),
            Part(_mfu_text(stage)),
        ]
    else:
        parts += [Part(rate_text(stage)), Part(safe(stage.detail))]
    parts.append(Part(f"elapsed {duration(stage.elapsed(now))}"))
    parts.append(Part(f"{duration(left)} left" if left is not None else ""))
    return fit(parts, None)


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
        first = summary.get("first_loss", stage.losses[0] if stage.losses else None)
        last = summary.get("train_loss", stage.losses[-1] if stage.losses else None)
        val = summary.get("val_bpb", stage.val_bpb)
        rate = stage.tokens_per_s
        parts += [
            Part(f"{event.step:,} step{'' if event.step == 1 else 's'}", "", 4),
            Part(f"loss {loss_text(first)} → {loss_text(last)}" if first is not None and last is not None else ""),
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


def score_lines(stage: str, scores: Sequence[Evaluated], width: int | None) -> list[Text]:
    """`  sft  facts 98%  arithmetic 96%  counting 92%`, on several lines where it must be."""
    items = [Part(f"{safe(score.name)} {_percent(score.value)}") for score in scores]
    return fold(f"  {safe(stage):<4}  ", items, width)


def _percent(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else "?"


def _mfu_text(stage: StageTracker) -> str:
    """`mfu 41%`, or `mfu n/a` where the device's peak is unknown; nothing for a log that does not say."""
    if stage.peak_known is None:
        return ""
    return f"mfu {stage.mfu:.0%}" if stage.mfu is not None else "mfu n/a"


def _val_text(stage: StageTracker) -> str:
    return f"val {loss_text(stage.val_bpb)} bpb" if stage.val_bpb is not None else ""
