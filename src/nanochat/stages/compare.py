"""Kept results of two models, looked up for a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanochat.checkpoints.evals import FOLDER, number, read_eval, read_evals
from nanochat.checkpoints.layout import step_name
from nanochat.checkpoints.selector import candidates
from nanochat.errors import MissingError, UsageError
from nanochat.evaluation.core.difference import CoreDifference, compare
from nanochat.evaluation.core.result import CoreResult, read_result
from nanochat.evaluation.paired import Paired, paired
from nanochat.runtime.paths import Paths
from nanochat.stages.base_subjects import ForeignModel, foreign_folder
from nanochat.stages.chat_results import KeptScore, read_scores

HF = "hf:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What `nanochat eval` has kept of a model; None and nothing for what has not been measured.

    Attributes:
        name: full selector, or `hf:` and a name.
        core: item by item.
        bundle: SHA-256 of the tasks of CORE and the way they are asked; "" where nothing says.
        train_bpb, val_bpb: bits per byte.
        data: text they are of.
        scores: of `nanochat eval chat`, by task.
    """

    name: str
    core: CoreResult | None
    bundle: str
    train_bpb: float | None
    val_bpb: float | None
    data: str
    scores: Mapping[str, KeptScore]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreDifference:
    """One task of `nanochat eval chat`: both accuracies, and the pairs of answers."""

    name: str
    first: float
    second: float
    paired: Paired


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two models.

    Attributes:
        first, second: what was found of each.
        core: None where one of them has no result of it.
        scores: of tasks that were asked alike.
        others: tasks that only one has, or that were asked otherwise.
    """

    first: Kept
    second: Kept
    core: CoreDifference | None
    scores: tuple[ScoreDifference, ...]
    others: tuple[str, ...]

    @property
    def one_bundle(self) -> bool:
        """Whether the questions of CORE were the same, as far as anything says."""
        bundles = {self.first.bundle, self.second.bundle}
        return len(bundles - {""}) < 2


def compare_models(paths: Paths, first: str, second: str) -> Comparison:
    """Compare what two models scored, the second against the first.

    Args:
        paths: where models are.
        first: a selector, or `hf:` and the name given to `nanochat eval base --hf`.
        second: likewise.

    Raises:
        MissingError: no such model, or nothing was measured.
        UsageError: the two have nothing in common, or a step was named that is not the one measured.
    """
    one, other = find_kept(paths, first), find_kept(paths, second)
    scores = tuple(
        ScoreDifference(
            name=name,
            first=one.scores[name].accuracy,
            second=score.accuracy,
            paired=paired(one.scores[name].right, score.right),
        )
        for name, score in other.scores.items()
        if name in one.scores and one.scores[name].alike(score)
    )
    core = None
    others = {**one.scores, **other.scores}.keys() - {score.name for score in scores}
    if one.core and other.core:
        try:
            core = compare(one.core, other.core)
        except UsageError:
            if not scores:
                raise
            others |= {"CORE"}
    if not scores and core is None and (one.val_bpb is None or other.val_bpb is None):
        if one.scores and other.scores:
            raise UsageError(
                f"{one.name} and {other.name} were not asked the same problems",
                "run nanochat eval chat for both, with the same settings",
            )
        unmeasured = other if one.core or one.scores else one
        part = "chat" if (one.scores or other.scores) and not (one.core or other.core) else "base"
        raise MissingError(
            f"{one.name} and {other.name} have no score in common", f"nanochat eval {part} {_words(unmeasured.name)}"
        )
    return Comparison(first=one, second=other, core=core, scores=scores, others=tuple(sorted(others)))


def find_kept(paths: Paths, name: str) -> Kept:
    """The results of one model.

    Raises:
        MissingError: no such model, or nothing was measured.
        UsageError: they are of other steps.
    """
    if name.startswith(HF):
        folder, step = foreign_folder(paths.base, name.removeprefix(HF)), ForeignModel.step
    else:
        step_dir = candidates(paths, name)[0]
        folder, step = step_dir.parent / FOLDER, int(step_dir.name.rpartition("_")[2])
        name = f"{step_dir.parent.parent.name}:{step_dir.parent.name}"
    core, bpb = (read_eval(folder, part, step) for part in ("core", "bpb"))
    scores = {} if name.startswith(HF) else read_scores(folder, step)
    if not core and not bpb and not scores:
        evals = {} if name.startswith(HF) else read_evals(folder.parent)
        steps = {found for value in evals.values() if isinstance(found := value.get("step"), int)}
        if step in steps:
            raise MissingError(
                f"{name}@{step} has no results that can be paired, problem by problem",
                f"nanochat eval chat {name}@{step}",
            )
        if not steps:
            raise MissingError(f"{name} has not been measured", f"nanochat eval base {_words(name)}")
        there = [found for found in sorted(steps) if (folder.parent / step_name(found)).is_dir()]
        raise UsageError(
            f"the results of {name} are of step {', '.join(map(str, sorted(steps)))}, not {step}",
            f"nanochat eval base {name}@{step}" + (f", or compare {name}@{there[-1]}" if there else ""),
        )
    bundle = core.get("bundle")
    return Kept(
        name=name if name.startswith(HF) else f"{name}@{step}",
        core=read_result(core.get("core")),
        bundle=str(bundle.get("sha256") or "") if isinstance(bundle, Mapping) else "",
        train_bpb=number(bpb.get("train_bpb")),
        val_bpb=number(bpb.get("val_bpb")),
        data=str(bpb.get("data", "")),
        scores=scores,
    )


def _words(name: str) -> str:
    return f"--hf {name.removeprefix(HF)}" if name.startswith(HF) else name
