"""CORE measured while a base model is trained."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from nanochat.config.train import BaseTrainConfig
from nanochat.evaluation.core.bundle import Bundle, open_bundle
from nanochat.evaluation.core.evaluate import evaluate_core
from nanochat.evaluation.core.tree import TreeScorer
from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent
from nanochat.runtime.hub import hub_from_environment
from nanochat.runtime.stop import StopRequest
from nanochat.stages.core_bundle import have_bundle
from nanochat.stages.core_results import core_event, keep_core
from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class CoreCadence:
    """What is measured, and how often.

    Attributes:
        every: steps.
        max_per_task: items of each task at most; 0 takes all.
        bundle: the tasks.
        context: its processes share the items.
    """

    every: int
    max_per_task: int
    bundle: Bundle
    context: RunContext

    def measure(
        self,
        model: GPT,
        tokenizer: Tokenizer,
        stage: str,
        step: int,
        folder: Path,
        on_event: OnEvent,
        stop: StopRequest,
    ) -> None:
        """Tell and keep CORE of the model as it is.

        Raises:
            CutShort: a stop was asked for; raised in every process.
        """
        started = time.perf_counter()
        core = evaluate_core(
            TreeScorer(model),
            tokenizer,
            self.bundle.tasks,
            max_per_task=self.max_per_task,
            processes=self.context.processes,
            stopped=lambda: stop.requested,
        )
        seconds = time.perf_counter() - started
        keep_core(folder / "eval", core, self.bundle, step, self.max_per_task, seconds, self.context)
        on_event(core_event(core, stage, step))


def core_cadence(config: BaseTrainConfig, context: RunContext, on_event: OnEvent) -> CoreCadence | None:
    """None where CORE is not to be measured.

    Raises:
        MissingError, DownloadError, DamagedError, StorageError: the bundle cannot be had.
    """
    if not config.core_every:
        return None
    bundle = open_bundle(have_bundle(context, config.core_bundle, hub_from_environment(os.environ), on_event))
    return CoreCadence(every=config.core_every, max_per_task=config.core_max_per_task, bundle=bundle, context=context)
