"""`nanochat models diff`: is one model better than another, or was it luck?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from nanochat.commands.models import complete_selector, table
from nanochat.commands.options import base_dir_option, emit_json, json_option

if TYPE_CHECKING:
    from nanochat.evaluation.core.difference import CoreDifference
    from nanochat.stages.compare import Comparison, Kept


@click.command()
@click.argument("first", shell_complete=complete_selector)
@click.argument("second", shell_complete=complete_selector)
@base_dir_option
@json_option
def diff(first: str, second: str, base_dir: str | None, as_json: bool) -> None:
    """Compare what two models scored on the same questions.

    FIRST and SECOND are selectors, or hf:NAME for what eval base --hf NAME has measured. Differences are SECOND minus
    FIRST with 95% intervals; p is how often two equally good models would differ as much (McNemar's test: only
    questions that one of the two answers wrongly count). Both have been measured with nanochat eval base.
    """
    from nanochat.runtime.paths import resolve_paths
    from nanochat.stages.compare import compare_models

    found = compare_models(resolve_paths(base_dir, os.environ), first, second)
    if as_json:
        emit_json(as_values(found))
    else:
        click.echo("\n".join(as_lines(found)))


def as_values(found: Comparison) -> dict[str, Any]:
    """For programs."""
    return {
        "first": _kept_values(found.first),
        "second": _kept_values(found.second),
        "core": _core_values(found.core) if found.core else None,
    }


def _kept_values(kept: Kept) -> dict[str, Any]:
    return {"model": kept.name, "train_bpb": kept.train_bpb, "val_bpb": kept.val_bpb, "data": kept.data}


def _core_values(core: CoreDifference) -> dict[str, Any]:
    (low, high), (first, second) = core.interval, core.means
    return {
        "first": first,
        "second": second,
        "difference": core.difference,
        "low": low,
        "high": high,
        "p": core.p_value,
        "tasks": {
            task.name: {
                "first": task.first.accuracy,
                "second": task.second.accuracy,
                "difference": task.paired.difference,
                "low": task.paired.interval[0],
                "high": task.paired.interval[1],
                "p": task.paired.p_value,
                "n": task.paired.n,
                "gained": task.paired.gained,
                "lost": task.paired.lost,
            }
            for task in core.tasks
        },
        "not_compared": core.others,
    }


def as_lines(found: Comparison) -> Iterator[str]:
    """For people."""
    one, other = found.first, found.second
    yield f"{one.name} -> {other.name}"
    pairs = (("train bpb", one.train_bpb, other.train_bpb), ("val bpb", one.val_bpb, other.val_bpb))
    rows = [(name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}") for name, a, b in pairs if a is not None and b is not None]
    if rows:
        yield ""
        yield table([("", "first", "second", "difference"), *rows], left=1)
        if one.data != other.data:
            yield f"on different text: {one.data} and {other.data}"
    if not found.core:
        return
    yield ""
    yield table(list(_core_rows(found.core)), left=1)
    if found.core.others:
        yield f"not compared, for they were asked otherwise or of one only: {', '.join(found.core.others)}"


def _core_rows(core: CoreDifference) -> Iterator[tuple[str, ...]]:
    yield ("task", "first", "second", "difference", "95% interval", "gained", "lost", "n", "p")
    for task in core.tasks:
        pair = task.paired
        low, high = pair.interval
        yield (
            task.name,
            f"{task.first.accuracy:.1%}",
            f"{task.second.accuracy:.1%}",
            f"{pair.difference:+.1%}",
            f"{low:+.1%} to {high:+.1%}",
            str(pair.gained),
            str(pair.lost),
            f"{pair.n:,}",
            f"{pair.p_value:.2g}",
        )
    (low, high), (first, second) = core.interval, core.means
    name = "CORE" if not core.others else "mean of these"
    change = (f"{core.difference:+.4f}", f"{low:+.4f} to {high:+.4f}")
    yield (f"{name}, centred", f"{first:.4f}", f"{second:.4f}", *change, "", "", "", f"{core.p_value:.2g}")
