"""What is known of a run as lines of text. Foreign text goes through `safe`, and nothing is markup.

The lines are the same on the dashboard and for `--once`; colours are names of the terminal's own.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from rich.text import Text

from nanochat.console.lines import Part, fit
from nanochat.console.words import bar, duration, loss_text, safe, short, size
from nanochat.tui.watch.comparison import compare, curve, end_of
from nanochat.tui.watch.looking import Look
from nanochat.tui.watch.model import Model, StageState
from nanochat.tui.watch.plot import Curve, Drawing, draw
from nanochat.tui.watch.run import StageLog
from nanochat.tui.watch.series import value_at
from nanochat.tui.watch.ticks import Label, number_label, size_label

OWN, OTHER = "cyan", "magenta"
PLOTS = {
    "loss": "loss",
    "val_bpb": "validation, bits per byte",
    "lr": "lr multiplier",
    "tokens_per_s": "tokens per second",
    "mfu": "MFU",
    "memory": "memory, at most",
}
MARKS = {"finished": ("✓", "green"), "running": ("▸", "bold cyan"), "silent": ("?", "yellow"), "to come": ("·", "dim")}


def ago(seconds: float) -> str:
    """4 s ago, 3 min ago, 2 h ago, 5 days ago."""
    for limit, unit, length in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if seconds < limit:
            return f"{int(seconds / length)} {unit} ago"
    return f"{int(seconds / 86_400)} days ago"


def place_text(axis: str, x: float) -> str:
    """A place on an axis in words: step 1,200, 12.3M tokens, 12:03."""
    if axis == "time":
        return f"{duration(x)} of training"
    return f"{short(x)} tokens" if axis == "tokens" else f"step {round(x):,}"


def head(model: Model, now: float, width: int) -> list[Text]:
    """Three lines: where the run is and whether it lives, its figures, the pipeline."""
    log = model.shown
    return [_where(model, log, now, width), _figures(log, width), pipeline_line(model.pipeline(now), width)]


def _where(model: Model, log: StageLog, now: float, width: int) -> Text:
    state, age = log.state(now), log.age_s(now)
    mark, style = MARKS[state]
    words = {
        "finished": "finished",
        "running": "running",
        "silent": f"no event for {duration(age or 0.0)}",
        "to come": "waiting for its first event",
    }[state]
    if model.left:
        read = 1 - model.left / max(1, sum(each.total for each in model.logs.values()))
        mark, style, words = "…", "yellow", f"reading its log: {max(0.0, read):.0%}"
    if model.problem:
        mark, style, words = "!", "bold red", f"cannot read {safe(model.problem)}"
    step, total = log.step, log.total_steps
    left = log.left_s(now)
    parts = [
        Part(f"{safe(log.tag)}:{log.stage}", "bold"),
        Part(f"{mark} {words}", style),
        Part(f"step {step:,} of {total:,}" if total else "", "", 1),
    ]
    if total and state != "finished":
        filled, open_ = bar(step / total, 20)
        parts += [Part(f"{filled}{open_}", "cyan", 5), Part(f"{100 * step // total}%", "", 3)]
    if left is not None and not model.left:
        parts.append(Part(f"{duration(left)} left", "bold", 2))
    if age is not None and state != "silent" and not model.left:
        parts.append(Part(f"last event {ago(age)}", "dim", 4))
    return fit(parts, width)


def _figures(log: StageLog, width: int) -> Text:
    last = log.last
    loss = curve(log, "loss", Look())
    warnings = sum(said.level == "warning" for said in log.notices)
    parts = [
        Part(f"{_name(log, 'loss')} {loss_text(loss[-1].mean)}" if loss else "", "bold"),
        Part(f"val {log.val_bpb:.4f} bpb" if log.val_bpb is not None else "", "bold", 1),
        Part(f"score {log.score:.3f}" if log.score is not None else "", "bold", 2),
    ]
    if last:
        lr, rate = last.lr_multiplier, last.tokens_per_s
        parts += [
            Part(f"lr ×{lr:.2f}" if lr == lr else "", "", 7),
            Part(f"{short(rate)} tok/s" if rate == rate else "", "", 3),
            Part(f"mfu {100 * last.mfu:.0f}%" if last.mfu is not None else "", "", 6),
            Part(size(last.memory_bytes) if last.memory_bytes else "", "", 8),
            Part(f"{short(last.tokens)} tokens", "", 9),
            Part(f"{duration(last.elapsed_s)} of training", "", 5),
        ]
    parts.append(Part(f"{warnings} warning{'s' * (warnings > 1)}" if warnings else "", "yellow", 4))
    return fit(parts, width)


def pipeline_line(boxes: Sequence[StageState], width: int) -> Text:
    """Every stage with its mark; with times and figures where there is room for them."""
    for detail in (2, 1, 0):
        line = fit([_box(box, detail) for box in boxes], None)
        if line.cell_len <= width:
            return line
    return fit([_box(box, 0) for box in boxes], width)


def _box(box: StageState, detail: int) -> Part:
    mark, style = MARKS[box.state]
    words = [mark, box.name]
    if box.state in ("running", "silent") and box.step is not None and box.total_steps:
        words.append(f"{100 * box.step // box.total_steps}%")
    elif detail and box.elapsed_s is not None:
        words.append(duration(box.elapsed_s))
    if detail > 1 and box.val_bpb is not None:
        words.append(f"{box.val_bpb:.3f} bpb")
    if detail > 1 and box.name == "eval" and box.score is not None:
        words.append(f"{box.score:.3f}")
    return Part(" ".join(words), style)


def notices(log: StageLog) -> list[Text]:
    """What the run had to say, the newest last, with the time of this machine's clock."""
    lines = []
    for said in log.notices:
        clock = datetime.datetime.fromtimestamp(said.time).strftime("%Y-%m-%d %H:%M:%S  ") if said.time else ""
        style = "yellow" if said.level == "warning" else ""
        lines.append(Text.assemble((clock, "dim"), (safe(said.message), style)))
    return lines or [Text("This run has had nothing to say.", "dim")]


def sample_steps(log: StageLog) -> list[int]:
    """The steps that samples were taken after, the newest first; none of steps that a resume threw away."""
    return sorted({step for step, _ in log.samples if not log.step or step <= log.step}, reverse=True)


def samples(log: StageLog, step: int) -> Text:
    """What the model said after one step."""
    text = Text()
    for sample in log.samples.values():
        if sample.step == step:
            text.append(f"> {safe(sample.prompt)}\n", "bold")
            text.append("\n".join(safe(line) for line in sample.answer.splitlines()) + "\n\n")
    return text


def glance(log: StageLog) -> Text:
    """The newest samples, after their step."""
    steps = sample_steps(log)
    text = Text(f"after step {steps[0]:,}\n" if steps else "", "dim")
    return text + samples(log, steps[0]) if steps else text


def has(log: StageLog, metric: str) -> bool:
    """Whether anything is known of a metric."""
    return bool(log.curve(metric, "step"))


def plot(log: StageLog, other: StageLog | None, metric: str, look: Look, width: int, height: int) -> Drawing:
    """One plot: a line that names it with its figures, then the curves. `height` lines in all."""
    own = curve(log, metric, look)
    theirs = curve(other, metric, look) if other else []
    curves = []
    for points, run, style in ((theirs, other, OTHER), (own, log, OWN)):
        if run and metric in ("loss", "tokens_per_s") and look.smoothing:
            curves.append(Curve(run.curve(metric, look.axis), f"dim {style}", span=True))
        curves.append(Curve(points, style, marks=metric == "val_bpb"))
    curves.sort(key=lambda each: not each.span)  # lines over spans
    drawn = draw(
        curves,
        width=width,
        height=height - 1,
        x_range=x_range(log, other, look),
        log=look.log,
        time=look.axis == "time",
        cursor=look.cursor,
        y_label=_label(metric),
    )
    return Drawing([_title(metric, look, log, other, width), *drawn.lines], drawn.gutter)


def end(log: StageLog, other: StageLog | None, look: Look) -> float:
    """Where the x axis ends: the place of the run that has come furthest."""
    return max(end_of(log, look.axis), end_of(other, look.axis) if other else 0.0, 1.0)


def x_range(log: StageLog, other: StageLog | None, look: Look) -> tuple[float, float]:
    """What part of the x axis is shown."""
    return look.window(end(log, other, look))


def _title(metric: str, look: Look, log: StageLog, other: StageLog | None, width: int) -> Text:
    parts = [Part(_name(log, metric), "bold")]
    own = curve(log, metric, look)
    x = look.cursor if look.cursor is not None else (own[-1].x if own else 0.0)
    value = value_at(own, x)
    if value is not None:
        parts.append(Part(_value(metric, value), OWN))
    theirs = value_at(curve(other, metric, look), x) if other else None
    if theirs is not None:
        parts.append(Part(_value(metric, theirs), OTHER, 1))
    if value is not None and theirs is not None:
        parts.append(Part(_signed(metric, value - theirs), "", 2))
    return fit(parts, width)


def _name(log: StageLog, metric: str) -> str:
    """What a metric is called; in reinforcement learning rewards stand where others have losses."""
    return "reward" if metric == "loss" and log.rollouts else PLOTS[metric]


def _label(metric: str) -> Label:
    if metric == "mfu":
        return lambda value, apart: f"{number_label(100 * value, 100 * apart)}%"
    return size_label if metric == "memory" else number_label


def _value(metric: str, value: float) -> str:
    if metric == "memory":
        return size(value)
    if metric == "mfu":
        return f"{100 * value:.1f}%"
    return short(value) if metric == "tokens_per_s" else f"{value:.4f}"


def _signed(metric: str, value: float) -> str:
    return ("−" if value < 0 else "+") + _value(metric, abs(value))


def comparison(log: StageLog, other: StageLog, look: Look, width: int | None) -> Text:
    """One line: the other run, the place, and what each has reached there."""
    found = compare(log, other, look)
    parts = [
        Part("against", "", 1),
        Part(safe(found.name), OTHER),
        Part(f"at {place_text(found.axis, found.x)}:"),
    ]
    units = {"loss": "loss", "val_bpb": "val bpb", "tokens_per_s": "tok/s"}
    for at, one in enumerate(found.differences):
        own, their = _value(one.metric, one.own), _value(one.metric, one.other)
        where = "" if one.x == found.x else f" at {place_text(found.axis, one.x)}"
        difference = f" {units[one.metric]} {_signed(one.metric, one.difference)}"
        parts.append(Part(difference, "" if at else "bold", 2 * at + 1 if at else 0))
        parts.append(Part(f"({own} to {their}{where})", "" if at else "bold", 2 * at + 2))
    if not found.differences:
        parts.append(Part(f"it has come to {place_text(found.axis, end_of(other, found.axis))}", "dim"))
    return fit(parts, width, " ")


def looking(look: Look, log: StageLog, other: StageLog | None, width: int) -> Text:
    """One line: how the curves are looked at."""
    span = look.smoothing * log.step
    low, high = x_range(log, other, look)
    shown = f"{place_text(look.axis, low)} to {place_text(look.axis, high)}" if look.span else ""
    parts = [
        Part(f"by {'training time' if look.axis == 'time' else look.axis}", "dim"),
        Part(f"at {place_text(look.axis, look.cursor)}" if look.cursor is not None else "", OWN),
        Part(shown, "dim", 1),
        Part("logarithmic" if look.log else "", "dim", 2),
        Part(f"smoothed over {max(1, round(span)):,} steps" if look.smoothing else "not smoothed", "dim", 3),
    ]
    return fit(parts, width)
