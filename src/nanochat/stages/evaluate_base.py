"""The evaluation of a base model: bits per byte, CORE and samples; of ours, or of a Hugging Face model.

    {base}/models/d12/base/eval/bpb.json, core.json      of a model of ours, beside its checkpoints
    {base}/evals/openai-community--gpt2/                 of a Hugging Face model

CORE is kept item by item, so that two models can be compared on the same questions.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.selector import describe_place, resolve
from nanochat.config.evaluate_base import BaseEvalConfig
from nanochat.data.mixture import TextMixture
from nanochat.errors import MissingError
from nanochat.evaluation.bpb import SplitScore
from nanochat.evaluation.core.bundle import Bundle, open_bundle
from nanochat.evaluation.core.evaluate import evaluate_core
from nanochat.evaluation.core.result import CoreResult, CoreScore
from nanochat.evaluation.load import load_model
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import Evaluated, EventLog, OnEvent, Sampled, StageProgress, fan_out, to_nobody, warner
from nanochat.runtime.hub import Hub
from nanochat.stages.base_subjects import OwnModel, Subject, foreign_model
from nanochat.stages.core_bundle import have_bundle
from nanochat.stages.core_results import core_event, keep, keep_core


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseEvaluation:
    """What was measured; None and nothing for what was not asked for.

    Attributes:
        name: full selector, or the Hugging Face ID.
        folder: where the results are kept.
        bpb: by split, train and val.
        core: by task.
        bundle: what CORE was made of.
        samples: prompt and answer.
    """

    name: str
    folder: Path
    bpb: dict[str, SplitScore]
    core: CoreResult | None
    bundle: Bundle | None
    samples: tuple[Sampled, ...]


def evaluate_base(
    selector: str | None, config: BaseEvalConfig, context: RunContext, hub: Hub, on_event: OnEvent
) -> BaseEvaluation:
    """Measure a model and keep the results.

    Several processes share the text and the items; the first one tells and writes.

    Raises:
        MissingError: no such model, no data set or no bundle.
        UsageError: settings that do not fit together.
        DownloadError: the bundle cannot be had.
        DamagedError, StorageError: a file cannot be used.
    """
    on_event = on_event if context.processes.first else to_nobody
    bundle = None
    if "core" in config.parts:
        bundle = open_bundle(have_bundle(context, config.bundle, hub, on_event))
    if config.hf:
        subject: Subject = foreign_model(config.hf, context, config.pass_tokens or None)
    else:
        subject = _own_model(selector, context, config.pass_tokens or None, on_event)
    log = EventLog(subject.folder.parent / "events.jsonl") if isinstance(subject, OwnModel) else None
    both = fan_out(log, on_event) if log is not None and context.processes.first else on_event
    try:
        bpb = _measure_bpb(subject, config, context, on_event) if "bpb" in config.parts else {}
        core = _measure_core(subject, bundle, config, context, on_event) if bundle else None
        if core:
            both(core_event(core, subject.stage, subject.step))
        samples = subject.samples(both) if "samples" in config.parts and context.processes.first else ()
    finally:
        if log is not None:
            log.close()
    return BaseEvaluation(
        name=subject.name, folder=subject.folder, bpb=bpb, core=core, bundle=bundle, samples=tuple(samples)
    )


def _own_model(selector: str | None, context: RunContext, tokens: int | None, on_event: OnEvent) -> OwnModel:
    notice = warner(on_event, "eval")
    if context.world_size > 1:  # the first says which: another might look a moment later, or see an older folder
        asked = selector
        selector = context.processes.first_does(lambda: describe_place(resolve(context.paths, asked, notice)))
    model, checkpoint = load_model(context.paths, selector, context.device, getattr(torch, context.dtype), notice)
    return OwnModel(model, checkpoint, tokens)


def _measure_bpb(
    subject: Subject, config: BaseEvalConfig, context: RunContext, on_event: OnEvent
) -> dict[str, SplitScore]:
    """Bits per byte of the beginning of the training text and of the validation text."""
    started = time.perf_counter()
    own = _trained_on(subject.folder.parent)
    name = config.data or own
    if name is None:
        raise MissingError(
            f"nothing says what text {subject.name} was trained on",
            "name a data set with --data, or leave out bpb with --only",
        )
    text = TextMixture.open(context.paths, name)
    scores = {}
    for number, split in enumerate(("train", "val")):

        def tell(done: float, number: int = number, split: str = split) -> None:
            detail = f"{subject.name} bits per byte, {split}"
            _tell(on_event, number + done, 2, "splits", detail)

        scores[split] = subject.bits_per_byte(text, split == "train", config.eval_tokens, context.processes, tell)
    total, interval = scores["val"].total, scores["val"].interval or (None, None)
    on_event(
        Evaluated(
            stage=subject.stage,
            step=subject.step,
            name="val_bpb",
            value=total.bits_per_byte,
            n=len(scores["val"].parts),
            low=interval[0],
            high=interval[1],
        )
    )
    values = {split: score.to_dict() for split, score in scores.items()}
    kept = {"step": subject.step, "data": name, "splits": values, "elapsed_s": round(time.perf_counter() - started, 2)}
    file = "bpb"
    if name == (own or name):
        kept |= {f"{split}_bpb": value["bpb"] for split, value in values.items()}
    else:  # what lists and reports call the model's own is not that of other text
        file = f"bpb-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"
    keep(subject.folder, file, kept, context)
    return scores


def _measure_core(
    subject: Subject, bundle: Bundle, config: BaseEvalConfig, context: RunContext, on_event: OnEvent
) -> CoreResult:
    started = time.perf_counter()
    done_so_far: list[CoreScore] = []

    def tell(number: int, done: int, total: int) -> None:
        mean = sum(score.centred for score in done_so_far) / len(done_so_far) if done_so_far else 0.0
        detail = f"{subject.name} CORE {mean:.3f} so far, {bundle.tasks[number].name}"
        _tell(on_event, number + done / total, len(bundle.tasks), "tasks", detail)

    core = evaluate_core(
        subject.scorer,
        subject.encoder,
        bundle.tasks,
        max_per_task=config.max_per_task,
        processes=context.processes,
        on_score=done_so_far.append,
        on_progress=tell,
    )
    elapsed_s = time.perf_counter() - started
    keep_core(subject.folder, core, bundle, subject.step, config.max_per_task, elapsed_s, context)
    return core


def _tell(on_event: OnEvent, done: float, total: float, unit: str, detail: str) -> None:
    """Tell how far it is."""
    on_event(StageProgress(stage="eval", done=done, total=total, unit=unit, detail=detail))


def _trained_on(stage_dir: Path) -> str | None:
    """The data sets that the base stage of a model was trained on; None where its folder does not say."""
    data: Any = (read_json(stage_dir.parent / "base" / "config.json") or {}).get("data", {})
    name = data.get("name") if isinstance(data, dict) else None
    return name if isinstance(name, str) else None
