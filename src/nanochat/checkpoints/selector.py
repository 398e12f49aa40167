"""`d12`, `d12:sft`, `d12:sft@650`: naming a checkpoint.

Nothing at all means the newest of all models; a tag alone its furthest finished stage, or, when none is
finished, the furthest that has a checkpoint; a stage its newest step; `d12:sft@best` the one whose validation was best.
Damaged checkpoints are passed over with a notice, except when one step was asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from nanochat.checkpoints.layout import is_finished, read_best, read_json, step_dirs, step_of, tags
from nanochat.checkpoints.manifest import MANIFEST, verify
from nanochat.checkpoints.store import STATE, Checkpoint, OnNotice, files_for_use, load_checkpoint
from nanochat.config.stages import STAGES
from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.runtime.paths import Paths, check_name

T = TypeVar("T")

_SYNTAX = re.compile(r"([^:@]+)(?::([^:@]+)(?:@(\d+|best))?)?")


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector; None means "the best there is"."""

    tag: str | None = None
    stage: str | None = None
    step: int | Literal["best"] | None = None

    def __str__(self) -> str:
        text = self.tag or ""
        if self.stage:
            text += f":{self.stage}"
        return text if self.step is None else f"{text}@{self.step}"


def parse_selector(text: str | None) -> Selector:
    """`tag[:stage[@step]]`; None or an empty string is the newest.

    Raises:
        UsageError: not of this form, an impossible tag, or a stage that does not exist.
    """
    if not text:
        return Selector()
    match = _SYNTAX.fullmatch(text)
    if not match:
        raise UsageError(
            f"{text!r} does not name a checkpoint",
            "write TAG, TAG:STAGE, TAG:STAGE@STEP or TAG:STAGE@best, as in d12:sft@650",
        )
    tag, stage, step = match.groups()
    check_name(tag, "model")
    if stage is not None and stage not in STAGES:
        raise UsageError(
            f"{stage!r} is not a stage{_did_you_mean(stage, STAGES)}", f"choose one of {', '.join(STAGES)}"
        )
    wanted: int | Literal["best"] | None = None
    if step is not None:
        wanted = "best" if step == "best" else int(step)
    return Selector(tag=tag, stage=stage, step=wanted)


def candidates(paths: Paths, selector: str | Selector | None = None) -> list[Path]:
    """The step folders a selector can mean, best first, none of them verified; at least one.

    Raises:
        MissingError: there is none; the hint is the command that makes it.
        UsageError: the selector cannot be read.
    """
    wanted = selector if isinstance(selector, Selector) else parse_selector(selector)
    if wanted.tag is None:
        found = [step for tag in tags(paths) for stage in STAGES for step in step_dirs(paths.models / tag / stage)]
        if not found:
            raise no_models(paths)
        return sorted(found, key=_age_key, reverse=True)
    require_tag(paths, wanted.tag)
    model_dir = paths.models / wanted.tag
    if wanted.stage is None:
        stage_dirs = [model_dir / stage for stage in reversed(STAGES)]
        stage_dirs.sort(key=is_finished, reverse=True)  # stable: furthest first among the finished
        found = [step for stage_dir in stage_dirs for step in step_dirs(stage_dir)]
        if not found:
            raise MissingError(f"{wanted.tag} has no checkpoint yet", f"nanochat train base --tag {wanted.tag}")
        return found
    found = step_dirs(model_dir / wanted.stage)
    if not found:
        present = [stage for stage in STAGES if step_dirs(model_dir / stage)]
        has = f" (it has {', '.join(present)})" if present else ""
        raise MissingError(
            f"{wanted.tag} has no {wanted.stage} checkpoint{has}",
            f"nanochat train {wanted.stage} --tag {wanted.tag}",
        )
    if wanted.step == "best":
        return [_best(wanted, found)]
    if wanted.step is not None:
        steps = [step_of(path) for path in found]
        if wanted.step not in steps:
            raise MissingError(
                f"{wanted.tag}:{wanted.stage} has no step {wanted.step}"
                f" (it has {', '.join(str(step) for step in sorted(steps))})",
                f"use {wanted.tag}:{wanted.stage}@{steps[0]}, or leave @{wanted.step} out for the newest",
            )
        return [found[steps.index(wanted.step)]]
    return found


def best_step(found: list[Path]) -> int | None:
    """The step whose validation was best: as the stage's folder says, or else as the newest of these step folders
    knew when it was saved; None for none.
    """
    if found and (best := read_best(found[0].parent)) in [step_of(path) for path in found]:
        return best
    for step_dir in found:
        try:
            verify(step_dir, [STATE])
        except DamagedError:
            continue
        train = (read_json(step_dir / STATE) or {}).get("train")
        if isinstance(train, dict):
            best = train.get("best_step")
            return best if isinstance(best, int) else None
    return None


def _best(wanted: Selector, found: list[Path]) -> Path:
    best = best_step(found)
    for path in found:
        if step_of(path) == best:
            return path
    raise MissingError(
        f"{wanted.tag}:{wanted.stage} has no checkpoint that was validated",
        f"use {wanted.tag}:{wanted.stage} for the newest",
    )


def resolve(paths: Paths, selector: str | Selector | None = None, on_notice: OnNotice | None = None) -> Path:
    """The step folder a selector means, with every file that is needed to answer checked.

    Raises:
        MissingError, UsageError: as `candidates`.
        DamagedError: the one asked for, or every one there is, is damaged; the message names the file.
    """
    return _first(candidates(paths, selector), _verified_for_use, on_notice)


def load_for_inference(
    paths: Paths, selector: str | Selector | None = None, on_notice: OnNotice | None = None
) -> Checkpoint:
    """The checkpoint a selector means, without its optimizer state; a damaged one gives way to the next.

    Raises:
        MissingError, UsageError, DamagedError: as `resolve`.
    """
    return _first(candidates(paths, selector), load_checkpoint, on_notice)


def require_tag(paths: Paths, tag: str) -> None:
    """Pass when there is a model of this name.

    Raises:
        MissingError: there is none; names that look like it are offered.
    """
    existing = tags(paths)
    if not existing:
        raise no_models(paths)
    if tag not in existing:
        raise MissingError(
            f"there is no model {tag!r}{_did_you_mean(tag, existing)}", f"nanochat train base --tag {tag}"
        )


def no_models(paths: Paths) -> MissingError:
    """The error for an installation where nothing has been trained."""
    return MissingError(f"there is no model in {paths.models} yet", "nanochat speedrun pocket")


def _did_you_mean(name: str, existing: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(existing), n=3, cutoff=0.5)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _verified_for_use(step_dir: Path) -> Path:
    verify(step_dir, files_for_use(step_dir))
    return step_dir


def _first(found: list[Path], use: Callable[[Path], T], on_notice: OnNotice | None) -> T:
    """What `use` makes of the first folder that is whole; the error of the first one when none is."""
    first_error: DamagedError | None = None
    for step_dir in found:
        try:
            result = use(step_dir)
        except DamagedError as error:
            first_error = first_error or error
            if on_notice and len(found) > 1:
                on_notice(error.message)
            continue
        if first_error and on_notice:
            on_notice(f"using {describe_place(step_dir)} instead")
        return result
    assert first_error is not None  # `found` is never empty
    raise first_error


def describe_place(step_dir: Path) -> str:
    """The full selector of a step folder: `d12:sft@650`."""
    return f"{step_dir.parent.parent.name}:{step_dir.parent.name}@{step_of(step_dir)}"


def _age_key(step_dir: Path) -> tuple[float, int, int]:
    """Newest last: when the manifest was written, then the later stage, then the later step."""
    try:
        written = (step_dir / MANIFEST).stat().st_mtime
    except OSError:
        written = 0.0
    return written, STAGES.index(step_dir.parent.name), step_of(step_dir)
