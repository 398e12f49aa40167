"""The dashboard without a terminal: one picture as plain text, and the same figures as values for JSON."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from nanochat.console.words import safe
from nanochat.tui.watch import view
from nanochat.tui.watch.comparison import compare, curve
from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.model import Model
from nanochat.tui.watch.run import StageLog
from nanochat.tui.watch.series import Point

_POINTS = 120  # of a curve in JSON


def picture(model: Model, other: StageLog | None, look: Look, now: float, width: int, height: int) -> list[Text]:
    """Head, loss and validation, comparison, the newest samples and the last warnings.

    Args:
        model: read to its end.
        other: a run to compare with.
        look: how to look at the curves.
        now: unix seconds.
        width: cells.
        height: lines of the curves.
    """
    log = model.shown
    lines = [*view.head(model, now, width), Text()]
    if log.last:
        shown = ["loss", *(["val_bpb"] if len(log.validations) else [])]
        heights = [height] if len(shown) == 1 else [height * 2 // 3, height // 3]
        for metric, each in zip(shown, heights, strict=True):
            lines += view.plot(log, other, metric, look, width, max(4, each)).lines
        lines += [view.looking(look, log, other, width)]
    if other:
        lines += [view.comparison(log, other, look, None)]  # all of it: a script may look for any
    if steps := view.sample_steps(log):
        said = view.samples(log, steps[0])
        said.right_crop(2)
        lines += [Text(), Text(f"Samples after step {steps[0]:,}"), *said.split("\n")]
    warnings = [said for said in log.notices if said.level == "warning"]
    lines += [Text(f"warning: {safe(said.message)}") for said in warnings[-3:]]
    return lines


def values(model: Model, other: StageLog | None, look: Look, now: float) -> dict[str, Any]:
    """What the picture shows, for `--json`."""
    log = model.shown
    last = log.last
    steps = view.sample_steps(log)
    smoothed = curve(log, "loss", look)
    return {
        "tag": log.tag,
        "stage": log.stage,
        "state": log.state(now),
        "problem": model.problem,
        "last_event_age_s": log.age_s(now),
        "left_s": log.left_s(now),
        "step": log.step,
        "total_steps": log.total_steps,
        "tokens": last.tokens if last else None,
        "elapsed_s": log.elapsed_s,
        "loss": last.loss if last else None,
        "smoothed_loss": smoothed[-1].mean if smoothed else None,
        "val_bpb": log.val_bpb,
        "score": log.score,
        "lr_multiplier": last.lr_multiplier if last else None,
        "tokens_per_s": last.tokens_per_s if last else None,
        "mfu": last.mfu if last else None,
        "memory_bytes": last.memory_bytes if last else None,
        "pipeline": model.pipeline(now),
        "axis": look.axis,
        "curves": {metric: _points(curve(log, metric, look)) for metric in view.PLOTS},
        "comparison": compare(log, other, look) if other else None,
        "samples": [
            {"step": sample.step, "prompt": sample.prompt, "answer": sample.answer}
            for sample in log.samples.values()
            if steps and sample.step == steps[0]
        ],
        "notices": [said._asdict() for said in log.notices],
    }


def _points(points: list[Point]) -> list[tuple[float, float]]:
    """At most `_POINTS` of a curve, its last one among them."""
    every = -(-len(points) // _POINTS) or 1
    return [(point.x, point.mean) for point in points[::-1][::every][::-1]]
