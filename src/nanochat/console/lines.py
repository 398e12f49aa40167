"""What a run looks like: the four lines of the live block, or one line of a log.

A line is a list of parts; where it is too long, the least important parts are left out. Foreign text goes
through `safe` and never through rich's markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.text import Text

from nanochat.console.tracker import CURVE_POINTS, StageTracker
from nanochat.console.words import bar, condense, duration, loss_text, money, safe, short, size, sparkline
from nanochat.runtime.events import RolloutsDone

BLOCK_LINES = 4


class Part(NamedTuple):
    """A piece of a line; the greater `rank`, the sooner it is left out, 0 never."""

    text: str
    style: str = ""
    rank: int = 0


@dataclass(slots=True)
class Board:
    """What the live block shows. `finished` holds seconds, None for a stage that was done before.

    `price_per_hour` is that of the whole machine in US dollars, from `started_at` on by the display's clock.
    """

    stages: list[str]
    finished: dict[str, float | None] = field(default_factory=dict)
    current: StageTracker | None = None
    compiled: bool = False  # an earlier stage of this run compiled already: the next one is quicker
    price_per_hour: float | None = None
    started_at: float = 0.0

    def cost(self, seconds: float) -> float | None:
        """What the machine costs for so long; None where its price is unknown."""
        return None if self.price_per_hour is None else self.price_per_hour * seconds / 3600


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
        return [stage_line(board, width, now), fit(below, width), Text(), Text()]
    return [
        stage_line(board, width, now),
        _bar_line(stage, width, now),
        _first_line(board, stage, width, now),
        _second_line(board, stage, width, now),
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
    filled, open_ = bar(fraction or 0.0, min(100, max(10, width - 46)))
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


def _first_line(board: Board, stage: StageTracker, width: int, now: float) -> Text:
    """What the stage is about: how well it learns, or what it works on."""
    if _before_first_step(stage):
        return fit([Part("  " + first_step_text(board, stage), "yellow")], width)
    if stage.last is None:
        elapsed = Part(f"  elapsed {duration(stage.elapsed(now))}", "dim")
        return fit([elapsed, Part(rate_text(stage), "", 1), Part(safe(stage.detail))], width)
    if stage.rollouts is not None:
        return fit(
            [
                Part(f"  reward {stage.rollouts.reward:.3f}", "bold"),
                Part(reward_curve(stage, min(CURVE_POINTS // 2, max(8, width - 48))), "cyan", 3),
                *_rollout_parts(stage.rollouts),
                Part(_lr_text(stage), "", 4),
            ],
            width,
        )
    return fit(
        [
            Part(f"  loss {loss_text(stage.last.loss)}", "bold"),
            Part(loss_curve(stage, min(CURVE_POINTS // 2, max(8, width - 40))), "cyan", 3),
            Part(_val_text(stage), "", 1),
            Part(_lr_text(stage), "", 2),
        ],
        width,
    )


def _second_line(board: Board, stage: StageTracker, width: int, now: float) -> Text:
    """What it takes: speed, memory, time and money."""
    cost = Part(cost_text(board, stage, now), "bold")
    if stage.last is None:
        return fit([Part(f"  {cost.text}" if cost.text else "", "bold")], width)
    return fit(
        [
            Part(f"  {short(stage.last.tokens_per_s)} tok/s"),
            Part(_mfu_text(stage), "", 2),
            Part(_memory_text(stage), "", 1),
            Part(f"elapsed {duration(stage.elapsed(now))}", "dim", 3),
            cost,
        ],
        width,
    )


def loss_curve(stage: StageTracker, width: int) -> str:
    """The losses of this run as columns, on a logarithmic scale: their first fall would hide the rest."""
    points = condense(stage.losses.points, width)
    return sparkline([math.log(loss) for loss in points] if min(points, default=0.0) > 0 else points, width)


def reward_curve(stage: StageTracker, width: int) -> str:
    """The rewards of this run as columns."""
    return sparkline(condense(stage.losses.points, width), width)


def _rollout_parts(rollouts: RolloutsDone) -> list[Part]:
    """How long the answers are, and how many examples teach something."""
    return [
        Part(f"answers {rollouts.answer_tokens:.0f} tokens", "", 1),
        Part(f"telling {rollouts.telling:.0%}", "", 2),
    ]


def cost_text(board: Board, stage: StageTracker, now: float) -> str:
    """`$0.12 of $0.48`; where more stages come after this one, `$0.12, base ends at $0.48`."""
    spent = board.cost(now - board.started_at)
    if spent is None:
        return ""
    left = stage.left(now)
    to_come = board.cost(left) if left is not None else None
    alone = len(board.stages) == 1
    if to_come is None or not (alone or stage.training):
        return money(spent)
    total = money(spent + to_come)
    return f"{money(spent)} of {total}" if alone else f"{money(spent)}, {safe(stage.name)} ends at {total}"


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


def log_line(board: Board, stage: StageTracker, now: float) -> Text:
    """The state as one line, for a log."""
    percent = stage.percent
    left = stage.left(now)
    parts = [Part(f"  {safe(stage.name)}"), Part(amount_text(stage))]
    parts.append(Part(f"{percent}%" if percent is not None else ""))
    if stage.last is not None:
        if stage.rollouts is None:
            parts += [Part(f"loss {loss_text(stage.last.loss)}"), Part(_val_text(stage))]
        else:
            parts += [Part(f"reward {stage.rollouts.reward:.3f}"), *_rollout_parts(stage.rollouts)]
        parts += [
            Part(_lr_text(stage)),
            Part(f"{short(stage.last.tokens_per_s)} tok/s"),
            Part(_mfu_text(stage)),
            Part(_memory_text(stage)),
        ]
    else:
        parts += [Part(rate_text(stage)), Part(safe(stage.detail))]
    parts.append(Part(f"elapsed {duration(stage.elapsed(now))}"))
    parts.append(Part(f"{duration(left)} left" if left is not None else ""))
    parts.append(Part(cost_text(board, stage, now)))
    return fit(parts, None)


def _mfu_text(stage: StageTracker) -> str:
    """`mfu 41%`, or `mfu n/a` where the device's peak is unknown; nothing for a log that does not say."""
    if stage.peak_known is None:
        return ""
    return f"mfu {stage.mfu:.0%}" if stage.mfu is not None else "mfu n/a"


def _memory_text(stage: StageTracker) -> str:
    """The most it has held so far."""
    return f"mem {size(stage.last.memory_bytes)}" if stage.last and stage.last.memory_bytes else ""


def _lr_text(stage: StageTracker) -> str:
    """The learning rate as a share of its peak."""
    return f"lr ×{stage.last.lr_multiplier:.2f}" if stage.last else ""


def _val_text(stage: StageTracker) -> str:
    return f"val {loss_text(stage.val_bpb)} bpb" if stage.val_bpb is not None else ""
