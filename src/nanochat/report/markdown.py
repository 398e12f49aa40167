"""From a `RunReport` to Markdown.

Everything that did not come from this module is data: names are escaped, and what a model said stands in a
code fence longer than any run of backticks inside it, with control characters made visible as U+FFFD, so that
neither a Markdown viewer nor a terminal can be talked into anything. The text depends on the report alone: no
clock, no locale, dates in UTC.
"""

from __future__ import annotations

import datetime
import itertools
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from nanochat.report.collect import Asked, CorePoint, RunReport, Sample, TaskScore
from nanochat.report.core import core_table

Item = TypeVar("Item")

_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 40
_SAMPLE_CHARS = 1000
_MOST_ANSWERS = 4  # of a stage to a prompt
_MOST_VALIDATIONS = 12  # rows of a table
_EXPECTED_STAGES = ("base", "mid", "sft")  # rl has a column only when it was run
# What Markdown or HTML could read as more than text; an underscore inside a word is text already.
_SPECIAL = re.compile(r"([\\`*{}\[\]<>()#|~!&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
# C0 and C1 controls but newline and tab, and the characters that reverse the direction of text.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def to_markdown(report: RunReport) -> str:
    """The whole report, ending in one newline."""
    sections = [
        [f"# {inline(report.tag)}", "", _summary(report)],
        ["## Model", "", *_model(report)],
        ["## Data", "", *_data(report)],
        ["## Losses", "", *_losses(report)],
        *_bits_per_byte(report),
        ["## Scores", "", *_scores(report)],
        *_during_training(report),
        *_core(report),
        ["## Time", "", *_time(report)],
        ["## Machine", "", *_pairs(report.machine, "The run has not said what it runs on.")],
        ["## Samples", "", *_samples(report)],
        *_warnings(report),
        [
            "## Talk to it",
            "",
            *fence(f'nanochat chat {report.tag}\nnanochat chat {report.tag} -p "Hello!"', "sh"),
        ],
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def inline(value: Any) -> str:
    """Data as one line of plain text, whatever Markdown or HTML it holds."""
    return _SPECIAL.sub(r"\\\1", _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", " ".join(str(value).split())))


def fence(text: str, language: str = "text") -> list[str]:
    """Data as a code block that its own backticks cannot end."""
    text = _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    marks = "`" * max(3, longest + 1)
    return [f"{marks}{language}", *text.split("\n"), marks]


def sparkline(values: Sequence[float], width: int = _SPARK_WIDTH) -> str:
    """Means of at most `width` equal parts as blocks between the lowest and the highest of them."""
    if not values:
        return ""
    parts = min(width, len(values))
    edges = [len(values) * i // parts for i in range(parts + 1)]
    means = [statistics.fmean(values[a:b]) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BLOCKS[round((mean - low) * scale)] for mean in means)


def duration(seconds: float) -> str:
    """`45 s`, `6 min 12 s` or `3 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _summary(report: RunReport) -> str:
    """One paragraph: what it is, how far it came, how good it is."""
    total = report.parameters.get("total")
    layers = report.model.get("n_layer")
    size = f" of {_short(total)} parameters" if total else ""
    text = f"A {inline(layers)}-layer model{size}." if layers else f"A model{size}."
    done = [stage.name for stage in report.stages if stage.finished]
    open_ = [stage.name for stage in report.stages if not stage.finished]
    seconds = sum(stage.train_s or 0.0 for stage in report.stages)
    if done:
        text += f" Finished: {', '.join(done)}."
    if open_:
        text += f" Not finished: {', '.join(open_)}."
    if not report.stages:
        text += " Nothing has been trained yet."
    if seconds:
        text += f" Training took {duration(seconds)}"
        if report.ended is not None:
            day = datetime.datetime.fromtimestamp(report.ended, tz=datetime.UTC).date()
            text += f" and ended on {day.isoformat()}"
        text += "."
    scored = [stage for stage in report.stages if stage.score is not None]
    if scored:
        best = scored[-1]
        text += f" After {best.name} its mean score is {best.score:.2f}, where 0 is guessing and 1 is perfect."
    return text


def _model(report: RunReport) -> list[str]:
    lines = _pairs(report.model, "Its configuration has not been written yet.")
    total = report.parameters.get("total")
    if not report.parameters:
        return [*lines, "", "Its parameters have not been counted yet."]
    rows = [(inline(name), f"{n:,}", f"{n / total:.1%}" if total else "-") for name, n in report.parameters.items()]
    return [*lines, "", *_table(("parameters", "count", "share"), rows)]


def _data(report: RunReport) -> list[str]:
    stages = [stage for stage in report.stages if stage.data or stage.tokens]
    if not stages:
        return ["Not known yet."]
    keys = list(dict.fromkeys(key for stage in stages for key, value in stage.data.items() if _is_plain(value)))
    header = ["stage", *(inline(key) for key in keys), "tokens trained on"]
    rows = [[stage.name, *(_value(key, stage.data.get(key)) for key in keys), _whole(stage.tokens)] for stage in stages]
    return _table(header, rows)


def _losses(report: RunReport) -> list[str]:
    rows = []
    for stage in report.stages:
        if stage.rewards:
            continue
        first, last = (f"{stage.losses[i]:.3f}" if stage.losses else "-" for i in (0, -1))
        # preferences have a loss of their own, which is told below
        nothing = "-" if any(scored.name == "val_loss" for scored in stage.scored) else "not evaluated yet"
        rows.append((stage.name, first, last, _from_to(stage.val_bpb, nothing), sparkline(stage.losses) or "-"))
    header = ("stage", "first train loss", "last", "validation bits per byte", "train loss")
    lines = [*(_table(header, rows) if rows else []), *_rewards(report)]
    return lines or ["Nothing has been trained yet."]


def _rewards(report: RunReport) -> list[str]:
    """What reinforcement learning was paid, and how often one of k answers to a held-out problem was right."""
    rows = []
    for stage in report.stages:
        if stage.rewards:
            passed = "; ".join(
                f"{inline(name)} {values[0]:.1%} → {values[-1]:.1%}" for name, values in stage.passed.items() if values
            )
            first, last = (f"{stage.rewards[i]:.3f}" for i in (0, -1))
            rows.append((stage.name, first, last, passed or "-", sparkline(stage.rewards)))
    return ["", *_table(("stage", "first reward", "last", "held-out problems", "reward"), rows)] if rows else []


def _bits_per_byte(report: RunReport) -> list[list[str]]:
    """The section, where `nanochat eval base` has measured them."""
    found = [(stage.name, bpb) for stage in report.stages for bpb in stage.bits_per_byte]
    splits = list(dict.fromkeys(split for _, bpb in found for split in bpb.splits))
    if not found:
        return []
    rows = []
    for stage, bpb in found:
        cells = []
        for split in splits:
            value, low, high = bpb.splits.get(split, (None, None, None))
            between = f" ({low:.4f} to {high:.4f})" if low is not None and high is not None else ""
            cells.append("-" if value is None else f"{value:.4f}{between}")
        rows.append((stage, _whole(bpb.step), inline(bpb.text) or "-", *cells))
    lines = _table(("stage", "step", "text", *map(inline, splits)), rows)
    return [["## Bits per byte", "", "Of the beginning of each split, with 95% intervals.", "", *lines]]


def _scores(report: RunReport) -> list[str]:
    """One row a task, one column a stage; the last row is the mean centred accuracy."""
    stages = {stage.name: stage for stage in report.stages}
    if not any(stage.tasks for stage in report.stages):
        return ["Not evaluated yet."]
    columns = [*_EXPECTED_STAGES, *(name for name in stages if name not in _EXPECTED_STAGES)]
    names = list(dict.fromkeys(task for stage in report.stages for task in stage.tasks))
    rows = []
    for name in names:
        scores = [stages[c].tasks.get(name) if c in stages else None for c in columns]
        chance = next((s.chance for s in scores if s and s.chance is not None), None)
        rows.append([inline(name), "-" if chance is None else f"{chance:.0%}", *map(_score, scores)])
    means = [stages[c].score if c in stages else None for c in columns]
    rows.append(["**mean score**", "0.00", *("-" if m is None else f"**{m:.2f}**" for m in means)])
    missing = [c for c in columns if c not in stages or not stages[c].tasks]
    notes = [f"Not evaluated yet: {', '.join(missing)}.", ""] if missing else []
    header = ("task", "chance", *(_scored_at(c, stages[c].asked) if c in stages else c for c in columns))
    return [
        "Accuracy with its 95% interval; n is the number of examples."
        " The mean score is centred: 0 is guessing, 1 is perfect.",
        "",
        *notes,
        *_table(header, rows),
        *_asked_otherwise(report),
    ]


def _scored_at(stage: str, asked: Asked | None) -> str:
    """`sft, step 650`; of a base model that was asked behind examples `base, step 2,000, 5shot`."""
    step = "" if asked is None or asked.step is None else f", step {asked.step:,}"
    return f"{stage}{step}" + (f", {inline(asked.how)}" if asked and asked.how else "")


def _asked_otherwise(report: RunReport) -> list[str]:
    """A table of what is not in the one above: a row for each time, a column for each task."""
    found = [(stage.name, asked) for stage in report.stages for asked in stage.others]
    if not found:
        return []
    names = list(dict.fromkeys(name for _, asked in found for name in asked.tasks))
    rows = [
        (stage, _whole(asked.step), inline(asked.how) or "-", *(_score(asked.tasks.get(name)) for name in names))
        for stage, asked in found
    ]
    return ["", "Of other steps, or asked otherwise:", "", *_table(("stage", "step", "how", *map(inline, names)), rows)]


def _core(report: RunReport) -> list[list[str]]:
    """The section, where CORE has been measured."""
    header, rows = core_table(report.core)
    if not rows:
        return []
    said = (
        "Centred accuracy: 0 is guessing, 1 is perfect; n is the number of items. CORE is the mean of the tasks, with"
        " its 95% interval; GPT-2's are the published scores."
    )
    cells = [[inline(cell) for cell in row] for row in (header, *rows)]
    steps = []
    for stage in report.stages:
        if len(stage.core) > 1:
            told = ", ".join(_core_at(point, stage.core[0]) for point in evenly(stage.core, _MOST_VALIDATIONS))
            steps += ["", f"{stage.name}, by step: {told}."]
    return [["## CORE", "", said, "", *_table(cells[0], cells[1:]), *steps]]


def _core_at(point: CorePoint, first: CorePoint) -> str:
    """`0.1234 at 2,000`, with n where it is not that of the first: scores of other items are no curve."""
    items = "" if point.n == first.n else f" (n={_whole(point.n)})"
    return f"{point.value:.4f} at {point.step:,}{items}"


def _during_training(report: RunReport) -> list[list[str]]:
    """For each stage that told any, a table of its figures: a row a validation, a column a figure."""
    sections = []
    for stage in report.stages:
        names = list(dict.fromkeys(scored.name for scored in stage.scored))
        if not names:
            continue
        values = {(scored.step, scored.name): scored.value for scored in stage.scored}
        steps = sorted({scored.step for scored in stage.scored})
        rows = [
            (f"{step:,}", *(f"{values[step, name]:.3f}" if (step, name) in values else "-" for name in names))
            for step in evenly(steps, _MOST_VALIDATIONS)
        ]
        lines = _table(("step", *map(inline, names)), rows)
        sections.append([f"## During {stage.name}", "", "Of validation problems, not those of the scores.", "", *lines])
    return sections


def evenly(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of them, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(at * (len(items) - 1) / (most - 1))] for at in range(most)]


def _time(report: RunReport) -> list[str]:
    rows = []
    for stage in report.stages:
        done = _whole(stage.step)
        if not stage.finished and stage.total_steps is not None:
            done += f" of {stage.total_steps:,}"
        rate = "-" if stage.tokens_per_s is None else f"{stage.tokens_per_s:,.0f}"
        mfu = "n/a" if stage.mfu is None else f"{stage.mfu:.1%}"
        memory = "-" if stage.peak_memory_bytes is None else f"{stage.peak_memory_bytes / 2**30:.2f} GiB"
        times = (_seconds(stage.train_s), _seconds(stage.eval_s))
        rows.append((stage.name, done, _whole(stage.tokens), rate, mfu, memory, *times))
    if not rows:
        return ["Nothing has been trained yet."]
    lines = _table(("stage", "steps", "tokens", "tokens/s", "MFU", "peak memory", "training", "evaluation"), rows)
    plan = {key: value for key, value in report.plan.items() if _is_plain(value)}
    return [*lines, "", "Planned beforehand:", "", *_pairs(plan, "")] if plan else lines


def _samples(report: RunReport) -> list[str]:
    """Each prompt once, with the answers of the stages under it: where they changed in a stage, several of them."""
    prompts = list(dict.fromkeys(sample.prompt for stage in report.stages for sample in stage.samples))
    if not prompts:
        return ["No samples yet."]
    lines: list[str] = []
    for prompt in prompts:
        lines += ["Prompt:", "", *fence(_cut(prompt)), ""]
        for stage in report.stages:
            own = [sample for sample in stage.samples if sample.prompt == prompt]
            changed = own[:1] + [new for old, new in itertools.pairwise(own) if new.answer != old.answer]
            for sample in evenly(changed, _MOST_ANSWERS):
                lines += [_said_at(stage.name, sample.step, own), "", *fence(_cut(sample.answer)), ""]
    return lines[:-1]


def _said_at(stage: str, step: int | None, samples: Sequence[Sample]) -> str:
    """`sft:` where the stage was asked once, else `sft, step 250:`."""
    return f"{stage}:" if step is None or len(samples) == 1 else f"{stage}, step {step:,}:"


def _warnings(report: RunReport) -> list[list[str]]:
    lines = [f"- {stage.name}: {inline(text)}" for stage in report.stages for text in stage.warnings]
    return [["## Warnings", "", *lines]] if lines else []


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table: the first column to the left, the others to the right. Cells are escaped already."""
    marks = ["---", *("---:" for _ in header[1:])]
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def _pairs(values: Mapping[str, Any], otherwise: str) -> list[str]:
    rows = [
        (inline(key.removesuffix("_bytes")), _value(key, value)) for key, value in values.items() if _is_plain(value)
    ]
    return _table(("", "value"), rows) if rows else [otherwise]


def _value(key: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key.endswith("_bytes"):
        return f"{value / 2**30:.1f} GiB"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else inline(value)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _score(score: TaskScore | None) -> str:
    if score is None:
        return "-"
    text = f"{score.accuracy:.1%}"
    if score.low is not None and score.high is not None:
        text += f" ({100 * score.low:.1f} to {100 * score.high:.1f})"
    return text if score.n is None else f"{text}, n={score.n}"


def _from_to(values: Sequence[float], nothing: str) -> str:
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else nothing
    return f"{values[0]:.4f} → {values[-1]:.4f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else duration(value)


def _short(number: int) -> str:
    for limit, word in ((10**9, "billion"), (10**6, "million")):
        if number >= limit:
            return f"{number / limit:.1f} {word}"
    return f"{number:,}"


def _cut(text: str) -> str:
    return text if len(text) <= _SAMPLE_CHARS else text[:_SAMPLE_CHARS] + " …"
