"""The training loop every stage runs: batch, loss, step, now and then a validation and a checkpoint.

It knows no files and no console: it calls `evaluate` and `save`, and tells `on_event` what happened. Stopped by a
signal it saves at the next step boundary and raises `Interrupted`. A checkpoint is saved before the validation of its
step, which may take long. A validation that was cut short, by a stop or a crash, is made up for when the run goes on:
so it ends as one that was never stopped.

Several processes run the same loop, each with its rows of every step. They agree on the loss, and so on all that
follows from it, and on stopping.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nanochat.errors import DivergedError, Interrupted
from nanochat.runtime.events import Notice, OnEvent, StepDone
from nanochat.runtime.memory import peak_bytes
from nanochat.runtime.processes import ALONE, Processes
from nanochat.runtime.stop import CutShort, StopRequest
from nanochat.training.batches import Batch, BatchSource
from nanochat.training.device_batch import DeviceBatch
from nanochat.training.optimizer import Optimizer
from nanochat.training.scaler import LossScaler
from nanochat.training.spikes import remember, spike_limit

BAD_STEPS_ALLOWED = 3
RATE_WINDOW_S = 10.0  # tok/s is an average over about this long


@dataclass(slots=True)
class TrainState:
    """What a resume needs besides weights, momenta and the place in the data.

    `step` counts finished steps, `tokens` those of this stage, `elapsed_s` time over all its runs, `loss` is smoothed.
    `val_bpb` is the last validation, in bits per byte or what the stage has in their place, made at `val_step`;
    `best_step` the saved step whose own validation is lowest.
    `recent` holds the last losses where spikes are looked for.
    """

    step: int = 0
    tokens: int = 0
    elapsed_s: float = 0.0
    loss: float = math.nan
    first_loss: float = math.nan
    val_bpb: float | None = None
    val_step: int | None = None
    best_bpb: float | None = None
    best_step: int | None = None
    recent: list[float] = field(default_factory=list)

    def note_validation(self, val_bpb: float, *, saved: bool) -> bool:
        """Take down a validation of the present step; whether it is the lowest of a saved one so far."""
        self.val_bpb, self.val_step = val_bpb, self.step
        if not saved or math.isnan(val_bpb) or (self.best_bpb is not None and val_bpb > self.best_bpb):
            return False
        self.best_bpb, self.best_step = val_bpb, self.step
        return True


@dataclass(frozen=True, slots=True)
class Dials:
    """What the schedules say for one step."""

    lr_multiplier: float
    momentum: float
    weight_decay: float | None = None


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The fixed parts of a run.

    Attributes:
        stage: name for events.
        loss: (ids, targets), or what else batches hold, -> summed loss in nats; usually the compiled model.
        optimizer: takes the steps.
        source: gives the rows.
        rows: rows of a step, of this process.
        device_batch: rows at a time; lowered when memory ends, where it may.
        total_steps: when to end.
        dials: schedules by step.
        device: where batches go.
        evaluate: validates and returns the figure that is to be low, or raises `CutShort`; called every `eval_every`
            steps (0 never) and after the last one.
        evaluate_first: also before the first step.
        updates: of one batch, one after the other.
        save: begins to write a checkpoint; every `save_every` steps (0 never) whose losses are fine, when stopped, and
            after the last one.
        best: told when a checkpoint turns out to have the lowest validation so far.
        mfu: share of the device's peak at so many tokens per second, or None.
        poll: called after every step, to tell of saves that are complete by now.
        wait: returns when the last save is complete.
        sample: lets the model say something; every `sample_every` steps (0 never), not after the last one.
        measure: scores the model, or raises `CutShort`; every `measure_every` steps, likewise.
        scaler: of the loss, for float16.
        skip_spikes: leave out updates whose loss stands far above those before; see `training.spikes`.
        remedy: what a person may do against a loss that is no number.
        stop: in force while the loop runs.
        processes: those that run this loop together.
    """

    stage: str
    loss: Callable[..., Tensor]
    optimizer: Optimizer
    source: BatchSource
    rows: int
    device_batch: DeviceBatch
    total_steps: int
    dials: Callable[[int], Dials]
    device: str
    evaluate: Callable[[TrainState], float]
    save: Callable[[TrainState], None]
    eval_every: int
    save_every: int
    on_event: OnEvent
    best: Callable[[TrainState], None] = lambda state: None
    mfu: Callable[[float], float | None] = lambda tokens_per_s: None
    poll: Callable[[], None] = lambda: None
    wait: Callable[[], None] = lambda: None
    sample: Callable[[TrainState], None] = lambda state: None
    sample_every: int = 0
    measure: Callable[[TrainState], None] = lambda state: None
    measure_every: int = 0
    scaler: LossScaler | None = None
    skip_spikes: bool = False
    updates: int = 1
    evaluate_first: bool = False
    remedy: str = "lower the learning rates (--matrix-lr, --embedding-lr)"
    stop: StopRequest = field(default_factory=StopRequest)
    processes: Processes = ALONE

    def run(self, state: TrainState) -> TrainState:
        """Train from `state` to the end.

        Raises:
            Interrupted: a signal came; everything is saved.
            DivergedError: three losses in a row were not finite; the weights are from before them.
        """
        bad_steps = 0
        rate = _Rate()
        saved_at = state.step
        with self.stop, _quiet_collector():
            stopping = self._is_stopping(self.processes.any(self.stop.requested))
            if state.step and self._evaluation_due(state) and not stopping:  # it was cut short
                stopping = not self._evaluate(state, saved=True)
            if self.evaluate_first and not state.step and not stopping:
                stopping = not self._evaluate(state, saved=False)
            while state.step < self.total_steps and not stopping:
                started = time.perf_counter()
                batch = self.source.step(self.rows * self.processes.world_size)
                loss, stopping = self._step(batch, state)
                if math.isfinite(loss):
                    bad_steps = 0
                else:
                    bad_steps += 1
                    self._on_bad_loss(state, batch, loss, bad_steps)
                if gc.isenabled():
                    gc.collect()
                    gc.freeze()
                    gc.disable()
                seconds = time.perf_counter() - started
                self._count(state, batch, loss, seconds, rate)
                self.poll()
                last = state.step == self.total_steps
                scheduled = self.save_every and state.step % self.save_every == 0
                if last or (scheduled and not bad_steps):
                    self.save(state)
                    saved_at = state.step
                    gc.collect()  # what has come since the first step, some hundred objects a save: 1 ms
                stopping = self._is_stopping(stopping)
                if self._evaluation_due(state) and not stopping:
                    stopping = not self._evaluate(state, saved=saved_at == state.step)
                stopping = self._is_stopping(stopping)
                for every, work in ((self.sample_every, self.sample), (self.measure_every, self.measure)):
                    if not last and not stopping and every and state.step % every == 0:
                        with suppress(CutShort):
                            work(state)
                        stopping = self._is_stopping(stopping)
            if stopping and saved_at != state.step:
                self.save(state)
            self.wait()
            # asked once more, for a signal may have come after the last step, or during the last save
            if self.processes.any(stopping or self.stop.requested):
                raise Interrupted(
                    f"stopped after step {state.step:,} of {self.total_steps:,} of the {self.stage} stage",
                    "everything is saved: the same command goes on from there",
                )
        return state

    def _is_stopping(self, agreed: bool) -> bool:
        """Whether to stop: in one process as soon as it is asked for, in several when all have agreed."""
        return agreed or (self.processes.world_size == 1 and self.stop.requested)

    def _evaluation_due(self, state: TrainState) -> bool:
        """Whether this step ends with a validation that has not been made."""
        due = state.step == self.total_steps or (self.eval_every and state.step % self.eval_every == 0)
        return bool(due) and state.val_step != state.step

    def _evaluate(self, state: TrainState, *, saved: bool) -> bool:
        """Validate; False when a stop was asked for before it was done."""
        with suppress(CutShort):
            if state.note_validation(self.evaluate(state), saved=saved):
                self.best(state)
            return True
        return False

    def _step(self, batch: Batch, state: TrainState) -> tuple[float, bool]:
        """The updates of a step; the loss of the first, or of one that is not finite. Also, whether to stop."""
        first, stopping = loss, _ = self._update(batch, state)
        for _ in range(1, self.updates):
            if math.isfinite(loss):
                loss, asked = self._update(batch, state)
                stopping = stopping or asked
        return first if math.isfinite(loss) else loss, stopping

    def _update(self, batch: Batch, state: TrainState) -> tuple[float, bool]:
        """One update; the loss is a mean over all targets of the step, however it is cut into micro-batches and shared
        out among processes. Also, whether to stop after it.
        """
        supervised = batch.supervised  # counted where the batch was made, not on the device
        own = self.device_batch.attempt(lambda rows: self._gradients(batch, rows, batch.divisor(supervised)))
        total, stops = self.processes.total([own, float(self.stop.requested)])
        if self.processes.world_size > 1:
            total = float(torch.tensor(total, dtype=torch.float32))  # as one process adds its micro-steps
        if math.isfinite(total) and supervised and self._unscaled(state.step) and not self._is_spike(state, total):
            dials = self.dials(state.step)
            self.optimizer.step(
                lr_multiplier=dials.lr_multiplier, momentum=dials.momentum, weight_decay=dials.weight_decay
            )
        self.optimizer.zero_grad()
        return total, stops > 0

    def _is_spike(self, state: TrainState, loss: float) -> bool:
        """Whether this update is to be left out because its loss is far above those before."""
        if not self.skip_spikes:
            return False
        limit = spike_limit(state.recent)
        remember(state.recent, loss)
        if loss <= limit:
            return False
        message = f"loss {loss:.4f} at step {state.step + 1} is a spike (above {limit:.4f}); this update is left out"
        self.on_event(Notice(stage=self.stage, level="warning", message=message))
        return True

    def _gradients(self, batch: Batch, rows: int, count: int) -> float:
        """Gradients of the loss divided by `count`, `rows` at a time, in place of any an attempt before has left.

        The device is waited for once, when all micro-steps are under way.
        """
        self.optimizer.zero_grad()
        scale = self.scaler.scale if self.scaler else 1.0
        tensors = [to_device(part, self.device) for part in batch.tensors]
        losses = []
        for at in range(0, len(batch.ids), rows):
            loss = self.loss(*(part[at : at + rows] for part in tensors)) / count
            (loss * scale).backward()
            losses.append(loss.detach())
        return float(torch.stack(losses).sum())

    def _unscaled(self, step: int) -> bool:
        """Undo the scaling of the gradients; False when they overflowed and this update is left out."""
        if self.scaler is None:
            return True
        params = [param for group in self.optimizer.groups for param in group.params.values()]
        if self.scaler.unscale(params, self.processes.any):
            return True
        if self.scaler.exhausted:
            raise DivergedError(
                f"the gradients of step {step + 1} are too large for float16",
                f"the last good checkpoint is kept; {self.remedy}",
            )
        return False

    def _on_bad_loss(self, state: TrainState, batch: Batch, loss: float, bad_steps: int) -> None:
        message = f"loss is {loss} at step {state.step + 1}; this update is left out"
        if batch.origin:
            message += f" (its rows are from {batch.origin})"
        self.on_event(Notice(stage=self.stage, level="warning", message=message))
        if bad_steps == BAD_STEPS_ALLOWED:
            raise DivergedError(
                f"the loss was not finite for {bad_steps} steps, the last being step {state.step + 1}", self.remedy
            )

    def _count(self, state: TrainState, batch: Batch, loss: float, seconds: float, rate: _Rate) -> None:
        tokens = batch.tokens(self.processes.world_size)
        state.step += 1
        state.tokens += tokens
        state.elapsed_s += seconds
        if math.isfinite(loss):
            if math.isnan(state.loss):
                state.loss = state.first_loss = loss
            smoothing = min(0.9, 1 - 1 / (state.step + 1))
            state.loss = smoothing * state.loss + (1 - smoothing) * loss
        tokens_per_s = rate.add(tokens, seconds)
        self.on_event(
            StepDone(
                stage=self.stage,
                step=state.step,
                total_steps=self.total_steps,
                loss=loss,
                lr_multiplier=self.dials(state.step - 1).lr_multiplier,
                tokens_per_s=tokens_per_s,
                tokens=state.tokens,
                elapsed_s=state.elapsed_s,
                mfu=self.mfu(tokens_per_s),
                memory_bytes=peak_bytes(self.device),
            )
        )


@contextmanager
def _quiet_collector() -> Iterator[None]:
    """Give the garbage collector back at the end.

    The loop freezes it after its first step: a scan of torch's many objects costs up to 500 ms and finds nothing. What
    comes later is scanned with every save.
    """
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


class _Rate:
    """Tokens per second over the last few steps; the first step, with its compilation, is left out."""

    def __init__(self) -> None:
        self._steps: list[tuple[int, float]] = []
        self._first = True

    def add(self, tokens: int, seconds: float) -> float:
        if self._first:
            self._first = False
            return tokens / seconds
        self._steps.append((tokens, seconds))
        while sum(s for _, s in self._steps[1:]) > RATE_WINDOW_S:
            self._steps.pop(0)
        return sum(t for t, _ in self._steps) / sum(s for _, s in self._steps)


def to_device(rows: Tensor, device: str) -> Tensor:
    """Rows where they are used; to a GPU from pinned memory, so that the copy runs beside everything else."""
    if device != "cuda":
        return rows.to(device)
    return rows.pin_memory().to(device, non_blocking=True)


def compiled_loss(model: torch.nn.Module, *, use_compile: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """The summed loss of `model`, compiled as one graph for the one shape that training uses."""

    def loss(ids: Tensor, targets: Tensor) -> Tensor:
        result: Tensor = model(ids, targets, reduction="sum")
        return result

    return torch.compile(loss, dynamic=False) if use_compile else loss
