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
    from nanochat.evaluation.paired import Paired
    from nanochat.stages.compare import Comparison, Kept

HEADER = ("task", "first", "second", "difference", "95% interval", "gained", "lost", "n", "p")
OTHERS = "not compared, for they were asked otherwise or of one only: "


@click.command()
@click.argument("first", shell_complete=complete_selector)
@click.argument("second", shell_complete=complete_selector)
@base_dir_option
@json_option
def diff(first: str, second: str, base_dir: str | None, as_json: bool) -> None:
    """Compare what two models scored on the same questions.

    FIRST and SECOND are selectors, or hf:NAME for what eval base --hf NAME has measured. Differences are SECOND minus
    FIRST with 95% intervals; p is how often two equally good models would differ as much (McNemar's test: only
    questions that one of the two answers wrongly count). Both have been measured with nanochat eval base or eval chat.
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
        "one_bundle": found.one_bundle,
        "tasks": {
            score.name: {"first": score.first, "second": score.second, **_pair_values(score.paired)}
            for score in found.scores
        },
        "not_compared": found.others,
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
                **_pair_values(task.paired),
            }
            for task in core.tasks
        },
        "not_compared": core.others,
    }


def _pair_values(pair: Paired) -> dict[str, Any]:
    low, high = pair.interval
    return {
        "difference": pair.difference,
        "low": low,
        "high": high,
        "p": pair.p_value,
        "n": pair.n,
        "gained": pair.gained,
        "lost": pair.lost,
    }


def as_lines(found: Comparison) -> Iterator[str]:
    """For people."""
    from nanochat.console.words import safe

    one, other = found.first, found.second
    yield f"{one.name} -> {other.name}"
    pairs = (("train bpb", one.train_bpb, other.train_bpb), ("val bpb", one.val_bpb, other.val_bpb))
    rows = [(name, f"{a:.4f}", f"{b:.4f}", f"{b - a:+.4f}") for name, a, b in pairs if a is not None and b is not None]
    if rows:
        yield ""
        yield table([("", "first", "second", "difference"), *rows], left=1)
        if one.data != other.data:
            yield f"on different text: {one.data} and {other.data}"
    if found.core:
        yield ""
        if not found.one_bundle:
            bundles = " and ".join(kept.bundle[:12] for kept in (one, other))
            yield f"CORE's questions are of two bundles, {bundles}: what they ask alike is compared"
        yield table([HEADER, *_core_rows(found.core, found.one_bundle)], left=1)
        if found.core.others:
            yield OTHERS + ", ".join(found.core.others)
    if found.scores:
        yield ""
        pairs_of = (_pair_row(safe(score.name), score.first, score.second, score.paired) for score in found.scores)
        yield table([HEADER, *pairs_of], left=1)
    if found.others:
        yield OTHERS + ", ".join(map(safe, found.others))


def _core_rows(core: CoreDifference, whole: bool) -> Iterator[tuple[str, ...]]:
    for task in core.tasks:
        yield _pair_row(task.name, task.first.accuracy, task.second.accuracy, task.paired)
    (low, high), (first, second) = core.interval, core.means
    name = "CORE" if whole and not core.others else "mean of these"
    change = (f"{core.difference:+.4f}", f"{low:+.4f} to {high:+.4f}")
    yield (f"{name}, centred", f"{first:.4f}", f"{second:.4f}", *change, "", "", "", f"{core.p_value:.2g}")


def _pair_row(name: str, first: float, second: float, pair: Paired) -> tuple[str, ...]:
    low, high = pair.interval
    return (
        name,
        f"{first:.1%}",
        f"{second:.1%}",
        f"{pair.difference:+.1%}",
        f"{low:+.1%} to {high:+.1%}",
        str(pair.gained),
        str(pair.lost),
        f"{pair.n:,}",
        f"{pair.p_value:.2g}",
    )
