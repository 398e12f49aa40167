"""The pipeline and its scores as tables of text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from nanochat.checkpoints.evals import number, plain_evals
from nanochat.console.lines import Part, fit
from nanochat.console.words import duration, safe, short
from nanochat.tui.watch.model import Model
from nanochat.tui.watch.view import MARKS


def stages(model: Model, now: float, width: int) -> list[Text]:
    """The pipeline as a table, then the scores of every stage with their intervals."""
    rows = [("", "stage", "step", "tokens", "time", "val bpb", "score", "")]
    boxes = model.pipeline(now)
    for box in boxes:
        steps = f"{box.step:,} of {box.total_steps:,}" if box.total_steps and box.step is not None else ""
        rows.append(
            (
                MARKS[box.state][0],
                box.name,
                steps,
                short(box.tokens) if box.tokens else "",
                duration(box.elapsed_s) if box.elapsed_s is not None else "",
                f"{box.val_bpb:.4f}" if box.val_bpb is not None else "",
                f"{box.score:.3f}" if box.score is not None else "",
                safe(box.detail) or box.state,
            )
        )
    styles = ["bold", *(MARKS[box.state][1] for box in boxes)]
    lines = [_fitted(text, style, width) for text, style in zip(_columns(rows, (0, 1, 7)), styles, strict=True)]
    scores = _scores(model)
    if scores:
        lines += [Text(), Text("Scores: accuracy, its 95% interval, what guessing gives, problems", "bold")]
        lines += [_fitted(text, "", width) for text in _columns(scores, (0, 1))]
    return lines


def _scores(model: Model) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for stage, log in model.logs.items():
        for evaluation in plain_evals(log.evals).values():
            for name, task in evaluation["tasks"].items():
                if not isinstance(task, dict) or (accuracy := number(task.get("accuracy"))) is None:
                    continue
                low, high, chance, n = (number(task.get(key)) for key in ("low", "high", "chance", "n"))
                interval = f"[{low:.3f}, {high:.3f}]" if low is not None and high is not None else ""
                chances = f"{chance:.2f}" if chance is not None else ""
                rows.append((stage, safe(str(name)), f"{accuracy:.3f}", interval, chances, f"{n or 0:,.0f}"))
    return rows


def _columns(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Aligned columns, two blanks apart; those of `left` begin at the same cell, the others end there."""
    widths = [max(Text(cell).cell_len for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            room = " " * (width - Text(cell).cell_len)
            cells.append(cell + room if index in left else room + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _fitted(text: str, style: str, width: int) -> Text:
    return fit([Part(text, style)], width)
