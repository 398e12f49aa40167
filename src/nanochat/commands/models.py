"""`nanochat models list` and `nanochat models show`: what has been trained, read from the folders."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from nanochat.commands.options import base_dir_option, emit_json, json_option

if TYPE_CHECKING:
    from nanochat.checkpoints.listing import ModelDetails, StageEntry


def complete_selector(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offers the models that exist, and their stages once a colon is there."""
    from nanochat.checkpoints.layout import tags
    from nanochat.config.stages import STAGES
    from nanochat.errors import NanochatError
    from nanochat.runtime.paths import resolve_paths

    try:
        paths = resolve_paths(ctx.params.get("base_dir"), os.environ)
        names = tags(paths)
        if ":" in incomplete:
            names = [f"{tag}:{stage}" for tag in names for stage in STAGES if (paths.models / tag / stage).is_dir()]
    except NanochatError:
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command("list")
@base_dir_option
@json_option
def list_(base_dir: str | None, as_json: bool) -> None:
    """List what has been trained, a line for each stage of each model.

    SCORE is the mean centred accuracy over all evaluated tasks: 0 is guessing, 1 is perfect; @ names its step where
    that is not the newest. A stage that is not finished carries a star.
    """
    from nanochat.checkpoints.listing import list_stages
    from nanochat.checkpoints.selector import no_models
    from nanochat.runtime.paths import resolve_paths

    paths = resolve_paths(base_dir, os.environ)
    entries = list_stages(paths)
    if as_json:
        emit_json(entries)
    elif not entries:
        raise no_models(paths)
    else:
        header = ("TAG", "STAGE", "STEP", "PARAMS", "VAL BPB", "SCORE", "SIZE", "WHEN")
        click.echo(table([header, *(_row(entry) for entry in entries)], left=2))


@click.command()
@click.argument("selector", required=False, shell_complete=complete_selector)
@base_dir_option
@json_option
def show(selector: str | None, base_dir: str | None, as_json: bool) -> None:
    """Show one checkpoint: its shape, losses, evaluations and files, each compared with the manifest.

    SELECTOR is TAG, TAG:STAGE or TAG:STAGE@STEP, as in d12:sft@650 or d12:sft@best (by validation); without one
    it is the newest. A damaged checkpoint is shown too, and ends with exit code 1.
    """
    from nanochat.checkpoints.listing import describe
    from nanochat.checkpoints.selector import candidates
    from nanochat.errors import DamagedError
    from nanochat.runtime.paths import resolve_paths

    details = describe(candidates(resolve_paths(base_dir, os.environ), selector)[0])
    if as_json:
        emit_json(details)
    else:
        click.echo("\n".join(_lines(details)))
    if not details.valid:
        name, file = next((name, file) for name, file in details.files.items() if file["state"] != "ok")
        raise DamagedError(
            f"{details.path / name} {file['state']}",
            "use an older checkpoint, copy this one again, or train it again",
        )


def table(rows: Sequence[Sequence[str]], left: int) -> str:
    """Aligned columns, two blanks apart: the first `left` of them to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            f"{cell:<{width}}" if index < left else f"{cell:>{width}}"
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _row(entry: StageEntry) -> tuple[str, ...]:
    return (
        entry.tag,
        entry.stage if entry.finished else f"{entry.stage}*",
        "-" if entry.step is None else str(entry.step),
        "-" if entry.parameters is None else _count(entry.parameters),
        _decimal(entry.val_bpb),
        _decimal(entry.score) + _at(entry.score_step, entry.step),
        _bytes(entry.size_bytes),
        _when(entry.modified),
    )


def _lines(details: ModelDetails) -> Iterable[str]:
    """The page of `show`: one block a subject."""
    state = "finished" if details.finished else "not finished"
    best = "" if details.best is None else f"; best {details.best}"
    yield f"{details.tag}:{details.stage}@{details.step}  ({state}; steps {_join(details.steps)}{best})"
    yield str(details.path)
    yield "\nmodel"
    yield from _pairs((name, str(value)) for name, value in details.model.items())
    yield "\nparameters"
    yield from _pairs((name, f"{n:,}") for name, n in details.parameters.items())
    yield "\nlosses"
    yield from _pairs((name, f"{value:.4f}") for name, value in details.losses.items())
    yield "\nevaluations"
    yield from _pairs(_evaluations(details))
    yield "\nfiles"
    rows = [(name, f"{file['size_bytes']:,}", file["state"]) for name, file in details.files.items()]
    widths = [max((len(row[i]) for row in rows), default=0) for i in (0, 1)]
    yield from (f"  {name:<{widths[0]}}  {size:>{widths[1]}}  {state}" for name, size, state in rows)


def _evaluations(details: ModelDetails) -> Iterable[tuple[str, str]]:
    """A line a figure; how else it was asked, and the step where it is of another one, stand behind the name."""
    for file, evaluation in details.evals.items():
        how = file.partition("@")[0].partition("-")[2].replace("-", ", ")
        where = (f" ({how})" if how else "") + _at(evaluation.get("step"), details.step)
        if "val_bpb" in evaluation:
            yield f"val_bpb{where}", _decimal(evaluation["val_bpb"])
        core = evaluation.get("core")
        if isinstance(core, dict):
            yield f"CORE{where}", _with_interval(core, "value")
        tasks = evaluation.get("tasks")
        for name, task in tasks.items() if isinstance(tasks, dict) else ():
            if isinstance(task, dict):
                yield f"{name}{where}", _with_interval(task, "accuracy")
    if details.score is not None:
        yield "score" + _at(details.score_step, details.step), f"{details.score:.3f}"


def _with_interval(score: Mapping[str, Any], key: str) -> str:
    low, high = _decimal(score.get("low"), 3), _decimal(score.get("high"), 3)
    return f"{_decimal(score.get(key), 3)}  [{low}, {high}]  n={score.get('n', '-')}"


def _at(step: object, shown: int | None) -> str:
    return "" if step is None or step == shown else f" @{step}"


def _pairs(pairs: Iterable[tuple[str, str]]) -> Iterable[str]:
    listed = list(pairs)
    if not listed:
        yield "  none"
    width = max((len(name) for name, _ in listed), default=0)
    yield from (f"  {name:<{width}}  {value}" for name, value in listed)


def _join(steps: Sequence[int]) -> str:
    return ", ".join(str(step) for step in steps)


def _decimal(value: object, digits: int = 4) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "-"


def _count(number: int) -> str:
    for limit, suffix in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if number >= limit:
            return f"{number / limit:.1f}{suffix}"
    return str(number)


def _bytes(size: int) -> str:
    for limit, suffix in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= limit:
            return f"{size / limit:.1f} {suffix}"
    return f"{size} B"


def _when(seconds: float) -> str:
    import datetime

    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M")
