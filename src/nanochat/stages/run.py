"""What the training stages do alike once their folder is theirs: place the model, train, save, validate, finish."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from nanochat.checkpoints.background import BackgroundSaver
from nanochat.checkpoints.layout import mark_best, mark_finished
from nanochat.checkpoints.store import Checkpoint
from nanochat.config.model import ModelConfig
from nanochat.config.train import TrainConfig
from nanochat.engine.engine import Engine
from nanochat.errors import DivergedError, UsageError
from nanochat.model.gpt import GPT
from nanochat.model.lora import adapter_state, merged_state
from nanochat.model.sizes import count_parameters, flops_per_token
from nanochat.runtime.context import RunContext
from nanochat.runtime.devices import describe_machine
from nanochat.runtime.events import (
    BetweenSteps,
    CheckpointSaved,
    Evaluated,
    OnEvent,
    StageFinished,
    StageStarted,
)
from nanochat.runtime.files import atomic_write_json
from nanochat.runtime.memory import forget_peak, peak_bytes
from nanochat.runtime.peaks import peak_of, utilization
from nanochat.runtime.stop import StopRequest
from nanochat.stages.core_cadence import CoreCadence
from nanochat.stages.folder import StageFolder, StageResult
from nanochat.stages.objective import Objective
from nanochat.stages.samples import take_samples
from nanochat.stages.scoring import Scoring
from nanochat.stages.settle import Placement, choose_device_batch, choose_settings, place_model
from nanochat.stages.validate import Validation
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.batches import Batch, BatchSource
from nanochat.training.device_batch import DeviceBatch
from nanochat.training.loop import Dials, Loop, TrainState, compiled_loss
from nanochat.training.optimizer import Optimizer
from nanochat.training.scaler import LossScaler

T = TypeVar("T")


class StageRun(StageFolder):
    """One stage of one model: its folder, and the run in it.

    Args:
        context: machine and folders.
        stage: base, mid, sft or rl.
        config: the stage's dials.
        on_event: told everything, besides the stage's own log.
    """

    def __init__(self, context: RunContext, stage: str, config: TrainConfig, on_event: OnEvent) -> None:
        super().__init__(context, stage, config, on_event)
        self._placement: Placement | None = None
        self.device_batch = DeviceBatch(rows=1, step_rows=1)
        self._probe: Mapping[str, Any] = {}
        self._opening: list[str] = []

    def at_start(self, message: str) -> None:
        """Tell one line as soon as the stage has begun."""
        self._opening.append(message)

    def place(self, model: GPT, *, batch_tokens: int, steps: int, row_len: int | None = None) -> GPT:
        """Put a model where the run computes, with what is chosen for it: rows per micro-step, what is open in the
        context, kernels.

        Args:
            model: to be trained.
            batch_tokens: tokens of a step.
            steps: of the run.
            row_len: tokens of a row; None is the model's context.

        Raises:
            UsageError: a kernel or a number format was required that cannot be had.
        """
        self._prepare(model)
        row_len = row_len or model.config.sequence_len
        batch = choose_device_batch(self.config, model, row_len, self.context, batch_tokens, self.notice)
        self.device_batch = batch
        before = self.context
        self.context, self._probe = choose_settings(
            model,
            self.context,
            self.config.tag,
            self.stage,
            (batch.rows, row_len),
            steps * batch.step_rows // batch.rows,
            self.notice,
        )
        return model if self.context == before else self._prepare(model)

    def _prepare(self, model: GPT) -> GPT:
        config = self.config
        self._placement = place_model(
            model,
            self.context,
            require_attn=config.require_attn,
            fp8=config.fp8,
            recompute=config.activation_checkpointing,
        )
        return model

    def train(
        self,
        *,
        model: GPT,
        tokenizer: Tokenizer,
        optimizer: Optimizer,
        source: BatchSource,
        resumed: Checkpoint | None,
        total_steps: int,
        total_batch_size: int,
        dials: Callable[[int], Dials],
        validation: list[Batch],
        data: Mapping[str, Any],
        core: CoreCadence | None = None,
        inherited: Mapping[str, Any] | None = None,
        objective: Objective | None = None,
        scoring: Scoring | None = None,
        updates: int = 1,
        closing: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda loader: {},
    ) -> StageResult:
        """Run the loop from where it stands to the end, and mark the stage finished.

        Args:
            model: placed; adapters in it are merged into what is saved.
            tokenizer: the model's.
            optimizer: of what is trained.
            source: of the rows.
            resumed: where the run goes on, or None.
            total_steps: of the whole run.
            total_batch_size: tokens of a step.
            dials: schedules by step.
            validation: rows to validate on.
            data: what the record says of them.
            inherited: what checkpoints keep for the stages that follow.
            objective: what is minimised; by default the cross-entropy of the targets.
            updates: of one batch.
            scoring: tasks to be scored at every validation.
            closing: from the source's last state, figures for the summary; told to a person on its way.

        Raises:
            UsageError: the tokenizer belongs to another model.
            DivergedError: the losses are not numbers; the hint names the last good checkpoint.
            OutOfMemoryError, Interrupted: as the loop does.
        """
        config, model_config, processes = self.config, model.config, self.context.processes
        check_vocabulary(tokenizer, model_config, self.folder)
        peak = peak_of(self.context)
        token_flops = flops_per_token(model_config)
        forget_peak(self.context.device)
        state = TrainState(**resumed.state["train"]) if resumed else TrainState()
        counts = count_parameters(model_config)
        parameters = {"total": counts.total} | dataclasses.asdict(counts)
        machine = {
            **describe_machine(),
            "device": self.context.device,
            "dtype": self.context.dtype,
            "compile": self.context.compile,
            "threads": self.context.threads,
            "attention": self._placement.attention.record() if self._placement else None,
            "device_batch_size": self.device_batch.rows,
            "processes": processes.world_size,
            "peak_flops": peak.flops,
            "peak": peak.text,
            **({"probe": self._probe} if self._probe else {}),
        }
        record = {
            "stage": self.stage,
            "tag": config.tag,
            "run": config.run or config.tag,
            "model": model_config.to_dict(),
            "train": self.settings(),
            "data": dict(data),
            "parameters": parameters,
            "machine": machine,
        }
        processes.first_does(lambda: atomic_write_json(self.folder / "config.json", record))
        self.on_event(
            StageStarted(
                stage=self.stage,
                tag=config.tag,
                run=config.run or config.tag,
                total_steps=total_steps,
                tokens=total_steps * total_batch_size,
                resumed_from=state.step if resumed else None,
                machine=machine,
                schedule={
                    "evaluation": config.eval_every,
                    "checkpoint": config.save_every,
                    "samples": config.samples_every,
                    **({"core": core.every} if core else {}),
                },
            )
        )
        for line in (*self._opening, *(self._placement.lines if self._placement else ())):
            self.notice(line, level="info")
        scaler = None
        if model.compute_dtype == torch.float16:
            scaler = LossScaler(**(resumed.state.get("scaler") or {}) if resumed else {})

        stop = StopRequest()
        measure = Validation(
            model=model,
            batches=validation,
            token_bytes=tokenizer.token_bytes(),
            device_batch=self.device_batch,
            stop=stop,
            processes=processes,
        )
        metric = objective.metric if objective else "val_bpb"

        def evaluate(state: TrainState) -> float:
            figures = objective.validate(stop, self.device_batch) if objective else {metric: measure.bits_per_byte()}
            scores = scoring.scores(Engine(model, tokenizer), stop, processes) if scoring else []
            for name, value in figures.items():
                self.on_event(Evaluated(stage=self.stage, step=state.step, name=name, value=value))
            for score in scores:
                self.on_event(score.event(self.stage, state.step))
            return figures[metric]

        def sample(state: TrainState) -> None:
            if processes.first:
                take_samples(Engine(model, tokenizer), self.stage, state.step, self.folder, self.on_event)

        def measure_core(state: TrainState) -> None:
            if core:
                core.measure(model, tokenizer, self.stage, state.step, self.folder, self.on_event, stop)

        remedy = f"lower the learning rates ({_rate_flags(self.stage, config)})"

        def save(state: TrainState) -> None:
            check_finite(model, state.step, remedy)
            optimizer_state = {**optimizer.state_dict(), **adapter_state(model)}
            if not processes.first:
                return
            saver.save(
                self.folder,
                state.step,
                model_state=merged_state(model),
                model_config=model_config,
                tokenizer=tokenizer,
                optimizer_state=optimizer_state,
                state={
                    "train": _json_safe(dataclasses.asdict(state)),
                    "loader": source.state(),
                    **({"scaler": dataclasses.asdict(scaler)} if scaler else {}),
                    "total_batch_size": total_batch_size,
                    **(inherited or {}),
                },
                keep=config.keep,
                best=state.best_step,
            )

        def keep_best(state: TrainState) -> None:
            if processes.first and state.best_step is not None and state.best_bpb is not None:
                mark_best(self.folder, state.best_step, state.best_bpb, metric)

        saver = BackgroundSaver(
            lambda step, path: self.on_event(CheckpointSaved(stage=self.stage, step=step, path=str(path)))
        )
        loop = Loop(
            stage=self.stage,
            loss=objective.loss if objective else compiled_loss(model, use_compile=self.context.compile),
            optimizer=optimizer,
            source=source,
            rows=self.device_batch.step_rows,
            device_batch=self.device_batch,
            total_steps=total_steps,
            dials=dials,
            device=self.context.device,
            evaluate=self._timed("evaluation", evaluate),
            save=self._timed("checkpoint", save),
            best=keep_best,
            poll=saver.poll,
            wait=lambda: processes.first_does(saver.wait),
            eval_every=config.eval_every,
            save_every=config.save_every,
            on_event=self.on_event,
            # the tokens of rl are those that were chosen, of all that were read
            mfu=lambda rate: (
                None if self.stage == "rl" else utilization(token_flops, rate, peak, self.context.world_size)
            ),
            sample=self._timed("samples", sample),
            sample_every=config.samples_every,
            measure=self._timed("core", measure_core),
            measure_every=core.every if core else 0,
            scaler=scaler,
            skip_spikes=config.skip_spikes,
            updates=updates,
            evaluate_first=self.stage == "rl",
            remedy=remedy,
            stop=stop,
            processes=processes,
        )
        with self.naming_last_good(), saver:
            state = loop.run(state)
        self._timed("samples", sample)(state)
        if core:
            self._timed("core", measure_core)(state)
        summary = _json_safe(
            {
                **closing(source.state()),
                "step": state.step,
                "tokens": state.tokens,
                "elapsed_s": round(state.elapsed_s, 2),
                "first_loss": state.first_loss,
                "train_loss": state.loss,
                metric: state.val_bpb,
                "best_step": state.best_step,
                metric.replace("val", "best"): state.best_bpb,
                "peak_memory_bytes": peak_bytes(self.context.device),
            }
        )
        processes.first_does(lambda: mark_finished(self.folder, summary))
        self.on_event(StageFinished(stage=self.stage, step=state.step, elapsed_s=state.elapsed_s, summary=summary))
        return StageResult(folder=self.folder, summary=summary)

    def _timed(self, work: str, function: Callable[[TrainState], T]) -> Callable[[TrainState], T]:
        """The same function, telling how long it took."""

        def timed(state: TrainState) -> T:
            started = time.perf_counter()
            result = function(state)
            seconds = time.perf_counter() - started
            self.on_event(BetweenSteps(stage=self.stage, step=state.step, work=work, seconds=round(seconds, 4)))
            return result

        return timed


def _rate_flags(stage: str, config: TrainConfig) -> str:
    """The options that set how fast a stage learns."""
    if getattr(config, "lora_rank", 0):
        return "--lora-lr"
    if getattr(config, "preferences", ""):
        return "--preference-lr-scale"
    return "--lr-scale" if stage == "rl" else "--matrix-lr, --embedding-lr"


def check_finite(model: GPT, step: int, remedy: str) -> None:
    """Refuse to keep weights that are not numbers: gradients may overflow under a loss that is one.

    Args:
        model: to be kept.
        step: for the message.
        remedy: its hint.

    Raises:
        DivergedError: some weight is NaN or infinite.
    """
    sums = torch.stack([param.detach().sum(dtype=torch.float32) for param in model.parameters()])
    if not bool(sums.isfinite().all()):
        raise DivergedError(f"weights are not finite after step {step}", remedy)


def check_vocabulary(tokenizer: Tokenizer, model_config: ModelConfig, folder: Path) -> None:
    """Refuse a tokenizer that has other tokens than the model.

    Raises:
        UsageError: the numbers of tokens differ.
    """
    if tokenizer.vocab_size != model_config.vocab_size:
        raise UsageError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model {model_config.vocab_size}",
            f"they must come from one checkpoint: choose another model with --from, or delete {folder} and train anew",
        )


def _json_safe(values: dict[str, Any]) -> dict[str, Any]:
    """NaN is no JSON: such values are left out."""
    return {k: v for k, v in values.items() if not (isinstance(v, float) and math.isnan(v))}
