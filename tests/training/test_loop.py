"""The loop with a source, a loss and a clock of the test's own."""

from __future__ import annotations

import gc
import math
import signal
import weakref
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nanochat.errors import DivergedError, Interrupted, OutOfMemoryError, StorageError
from nanochat.runtime.events import Event, Notice, StepDone
from nanochat.runtime.stop import CutShort, StopRequest
from nanochat.training.batches import Batch
from nanochat.training.device_batch import DeviceBatch
from nanochat.training.loop import Dials, Loop, TrainState, compiled_loss, to_device
from nanochat.training.optimizer import Group, Optimizer

ROWS, LENGTH = 4, 6


@dataclass
class Source:
    """Counts up; targets of the second half of each row are ignored."""

    made: int = 0

    def step(self, rows: int) -> Batch:
        self.made += 1
        ids = torch.full((rows, LENGTH), self.made)
        targets = ids.clone()
        targets[:, LENGTH // 2 :] = -1
        targets[0] = -1  # micro-batches differ in how much counts
        return Batch(ids, targets)

    def state(self) -> dict[str, Any]:
        return {"made": self.made}


@dataclass
class Probe:
    weight: nn.Parameter = field(default_factory=lambda: nn.Parameter(torch.tensor([2.0])))
    events: list[Event] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)
    bad: set[int] = field(default_factory=set)
    micro_rows: int = ROWS
    automatic: bool = False
    on_event: Any = None
    evaluate: Any = None

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        value = (targets >= 0).sum() * self.weight.square().sum()
        return value * math.nan if int(ids[0, 0]) in self.bad else value

    def validate(self, state: TrainState) -> float:
        self.evaluated.append(state.step)
        return 1.0

    def listen(self, event: Event) -> None:
        self.events.append(event)
        if self.on_event:
            self.on_event(event)

    def run(self, steps: int = 5, state: TrainState | None = None, **options: Any) -> TrainState:
        group = Group(name="w", kind="adamw", params={"w": self.weight}, lr=0.01)
        settings: dict[str, Any] = {"eval_every": 0, "save_every": 0, "source": Source(), **options}
        loop = Loop(
            stage="base",
            loss=self.loss,
            optimizer=Optimizer(groups=[group]),
            rows=ROWS,
            device_batch=DeviceBatch(rows=self.micro_rows, step_rows=ROWS, automatic=self.automatic),
            total_steps=steps,
            dials=lambda step: Dials(lr_multiplier=1.0, momentum=0.9),
            device="cpu",
            evaluate=self.evaluate or self.validate,
            save=lambda state: self.saved.append(state.step),
            on_event=self.listen,
            **settings,
        )
        return loop.run(state or TrainState())

    @property
    def losses(self) -> list[float]:
        return [event.loss for event in self.events if isinstance(event, StepDone)]


def test_a_run() -> None:
    probe = Probe()
    state = probe.run(eval_every=2, save_every=3)
    assert probe.evaluated == [2, 4, 5]
    assert probe.saved == [3, 5]
    assert (state.step, state.tokens, state.first_loss) == (5, 5 * ROWS * LENGTH, 4.0)
    assert probe.losses[0] == 4.0
    assert probe.losses == sorted(probe.losses, reverse=True)
    last = probe.events[-1]
    assert isinstance(last, StepDone)
    assert (last.step, last.total_steps, last.tokens) == (5, 5, state.tokens)
    assert last.tokens_per_s > 0


def test_samples_are_taken_on_the_way() -> None:
    sampled: list[int] = []
    Probe().run(6, sample=lambda state: sampled.append(state.step), sample_every=2)
    assert sampled == [2, 4]  # what is said at the end is the stage's business


def test_the_best_is_the_lowest_validation_of_a_saved_step() -> None:
    state = TrainState()
    validations = {1: 3.0, 2: 1.0, 3: None, 4: 2.0, 5: math.nan, 6: 1.5}
    for step, val_bpb in validations.items():
        state.step = step
        if val_bpb is not None:
            state.note_validation(val_bpb, saved=step != 2)
        if step == 3:
            assert (state.best_step, state.best_bpb) == (1, 3.0)
    assert (state.best_step, state.best_bpb) == (6, 1.5)


def test_zero_means_only_at_the_end() -> None:
    probe = Probe()
    probe.run()
    assert (probe.evaluated, probe.saved) == ([5], [5])


@pytest.mark.parametrize("micro_rows", [1, 2, 4])
def test_the_loss_is_the_mean_over_the_targets_of_the_step(micro_rows: int) -> None:
    probe = Probe(micro_rows=micro_rows)
    probe.run(2)
    assert probe.losses[0] == pytest.approx(4.0)
    assert float(probe.weight.detach()) == pytest.approx(1.98, abs=1e-3)


def test_the_device_is_waited_for_once_a_step() -> None:
    """Numbers are read off the device for the loss of a whole step, not of each micro-step."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if function is torch.ops.aten._local_scalar_dense.default:
                self.count += 1
            return function(*args, **(kwargs or {}))

    def step(micro_rows: int) -> int:
        probe = Probe(micro_rows=micro_rows)
        loop = Loop(
            stage="base",
            loss=lambda ids, targets: (targets >= 0).sum() * probe.weight.square().sum(),
            optimizer=Optimizer(groups=[]),
            source=Source(),
            rows=ROWS,
            device_batch=DeviceBatch(rows=micro_rows, step_rows=ROWS),
            total_steps=1,
            dials=lambda step: Dials(lr_multiplier=1.0, momentum=0.9),
            device="cpu",
            evaluate=lambda state: 1.0,
            save=lambda state: None,
            eval_every=0,
            save_every=0,
            on_event=probe.listen,
        )
        with Reads() as reads:
            loop.run(TrainState())
        return reads.count

    assert step(4) == step(1) == 2  # the loss, and how many targets count, which is known where the batch is made


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_rows_reach_a_gpu_unchanged() -> None:
    rows = torch.arange(12).view(3, 4)
    there = to_device(rows, "cuda")
    assert there.is_cuda
    assert torch.equal(there.cpu(), rows)


def test_memory_that_ends_in_the_middle_of_a_step_changes_nothing_but_the_rows() -> None:
    """The second micro-step fails once: its step is taken again, from clean gradients, with half the rows."""
    plain = Probe(micro_rows=2)
    plain.run()
    probe = Probe(micro_rows=2, automatic=True)
    sizes: list[int] = []
    loss = probe.loss

    def failing(ids: Tensor, targets: Tensor) -> Tensor:
        sizes.append(len(ids))
        if sizes == [2] * 4:
            raise torch.OutOfMemoryError("out of memory")
        return loss(ids, targets)

    probe.loss = failing  # type: ignore[method-assign]
    assert probe.run().step == 5
    assert sizes == [2] * 4 + [1] * 16
    assert probe.losses == pytest.approx(plain.losses)
    assert torch.equal(probe.weight, plain.weight)


def test_memory_that_ends_with_rows_that_were_asked_for() -> None:
    probe = Probe(micro_rows=4)

    def failing(ids: Tensor, targets: Tensor) -> Tensor:
        raise MemoryError

    probe.loss = failing  # type: ignore[method-assign]
    with pytest.raises(OutOfMemoryError, match="4 rows at a time"):
        probe.run()


def test_every_step_says_what_share_of_the_peak_it_used() -> None:
    probe = Probe()
    probe.run(mfu=lambda tokens_per_s: tokens_per_s / 1e12)
    steps = [event for event in probe.events if isinstance(event, StepDone)]
    assert [step.mfu for step in steps] == [step.tokens_per_s / 1e12 for step in steps]


def test_a_finished_state_does_nothing() -> None:
    probe = Probe()
    probe.run(5, TrainState(step=5, val_step=5))
    assert (probe.events, probe.evaluated, probe.saved) == ([], [], [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_stops_at_the_next_boundary(number: int) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(number)

    probe = Probe(on_event=on_event)
    with pytest.raises(Interrupted, match="step 3 of 5"):
        probe.run()
    assert probe.saved == [3]


def test_stopping_waits_for_the_save_and_says_nothing_else_when_it_failed() -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            signal.raise_signal(signal.SIGINT)

    def wait() -> None:
        assert probe.saved == [3]
        raise StorageError("disk full", "free some")

    polled: list[int] = []
    probe = Probe(on_event=on_event)
    with pytest.raises(StorageError, match="disk full"):
        probe.run(wait=wait, poll=lambda: polled.append(len(probe.losses)))
    assert polled == [1, 2, 3]


def test_a_signal_in_the_last_step_stops_too() -> None:
    """Whoever asked would not have the next stage begin. What is left to do is its validation."""
    probe = Probe(on_event=lambda event: signal.raise_signal(signal.SIGINT))
    state = TrainState()
    with pytest.raises(Interrupted, match="step 1 of 1"):
        probe.run(1, state)
    assert (probe.evaluated, probe.saved) == ([], [1])
    probe = Probe()
    probe.run(1, state)
    assert (probe.losses, probe.evaluated, probe.saved) == ([], [1], [])


def test_a_signal_while_samples_are_taken_saves_their_step() -> None:
    probe = Probe()
    with pytest.raises(Interrupted, match="step 2 of 5"):
        probe.run(sample=lambda state: signal.raise_signal(signal.SIGTERM), sample_every=2)
    assert probe.saved == [2]


class TestValidationCutShort:
    def stopped(self, steps: int, at: int) -> tuple[Probe, TrainState]:
        """A run that is asked to stop in the middle of the validation of this step."""

        def evaluate(state: TrainState) -> float:
            probe.evaluated.append(state.step)
            if state.step == at:
                signal.raise_signal(signal.SIGTERM)
                raise CutShort
            return 1.0

        probe, state, stop = Probe(evaluate=evaluate), TrainState(), StopRequest()
        with pytest.raises(Interrupted, match=f"step {at} of {steps}"):
            probe.run(steps, state, eval_every=2, stop=stop)
        assert probe.saved == [at]
        assert state.val_step == (at - 2 or None)
        return probe, state

    @pytest.mark.parametrize(("steps", "left"), [(6, [4, 6]), (5, [4, 5]), (4, [4])])
    def test_it_is_made_up_for_before_anything_else(self, steps: int, left: list[int]) -> None:
        _, state = self.stopped(steps, 4)
        probe = Probe()
        probe.run(steps, state, eval_every=2)
        assert probe.evaluated == left
        assert probe.saved == ([] if steps == 4 else [steps])
        assert state.val_step == steps
        assert state.best_step == steps  # of equals the last

    def test_stopped_again_while_it_is_made_up_for(self) -> None:
        _, state = self.stopped(6, 2)
        stop = StopRequest()

        def evaluate(state: TrainState) -> float:
            signal.raise_signal(signal.SIGTERM)
            raise CutShort

        probe = Probe(evaluate=evaluate)
        with pytest.raises(Interrupted, match="step 2 of 6"):
            probe.run(6, state, eval_every=2, stop=stop)
        assert (probe.losses, probe.saved) == ([], [])  # what is saved is as it was


def test_single_bad_losses_leave_the_weights_alone() -> None:
    probe = Probe(bad={2, 3})
    state = probe.run()
    assert state.step == 5
    assert [event.message.split()[2] for event in probe.events if isinstance(event, Notice)] == ["nan", "nan"]
    assert math.isfinite(state.loss)
    assert torch.isfinite(probe.weight).all()


def test_a_batch_without_a_target_is_skipped() -> None:
    """Not taken with gradients of zero: what earlier steps have gathered would move the weights all the same."""

    class Empty(Source):
        def step(self, rows: int) -> Batch:
            batch = super().step(rows)
            return replace(batch, targets=torch.full_like(batch.targets, -1)) if self.made == 3 else batch

    probe, after = Probe(), {}
    probe.on_event = lambda event: after.update({event.step: float(probe.weight.detach())})
    probe.run(5, source=Empty())
    assert after[3] == after[2] < after[1]
    assert after[5] < after[4] < after[3]
    assert all(map(math.isfinite, probe.losses))


class TestSpikes:
    def run(self, **options: Any) -> tuple[Probe, TrainState, Tensor]:
        """A loss that is fifty times as high in step 80 of 90."""

        class Spiky(Probe):
            def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
                value = super().loss(ids, targets)
                return value * 50 if int(ids[0, 0]) == 80 else value

        probe = Spiky()
        after: dict[int, Tensor] = {}

        def note(event: Event) -> None:
            if isinstance(event, StepDone):
                after[event.step] = probe.weight.detach().clone()

        probe.on_event = note
        state = probe.run(90, **options)
        return probe, state, after[80] - after[79]

    def test_its_update_is_left_out_and_told(self) -> None:
        probe, state, moved = self.run(skip_spikes=True)
        assert float(moved) == 0
        (notice,) = [event for event in probe.events if isinstance(event, Notice)]
        assert "at step 80 is a spike" in notice.message
        told = probe.events.index(notice)
        assert isinstance(probe.events[told + 1], StepDone)
        assert state.step == 90
        assert len(state.recent) == 90

    def test_it_is_taken_when_nobody_asks(self) -> None:
        probe, state, moved = self.run()
        assert not [event for event in probe.events if isinstance(event, Notice)]
        assert float(moved.abs()) > 0
        assert state.recent == []


def test_a_checkpoint_is_saved_before_its_validation() -> None:
    order: list[str] = []

    def evaluate(state: TrainState) -> float:
        order.append(f"validate {state.step}")
        return 1.0

    probe = Probe(evaluate=evaluate)
    probe.saved = type("", (list,), {"append": lambda self, step: order.append(f"save {step}")})()
    bests: list[int | None] = []
    state = probe.run(4, eval_every=2, save_every=2, best=lambda state: bests.append(state.best_step))
    assert order == ["save 2", "validate 2", "save 4", "validate 4"]
    assert bests == [2, 4]
    assert state.best_step == 4


def test_the_warning_says_where_the_rows_are_from() -> None:
    shard = Path("/base/data/mine/shard_00002.parquet")

    class Placed(Source):
        def step(self, rows: int) -> Batch:
            return replace(super().step(rows), places=tuple((shard, group) for group in range(self.made)))

    probe = Probe(bad={1, 12})
    probe.run(12, source=Placed())
    first, last = (event.message for event in probe.events if isinstance(event, Notice))
    assert first.endswith("left out (its rows are from row group 0 of mine/shard_00002.parquet)")
    assert last.endswith("row group 7 of mine/shard_00002.parquet and 4 more)")


def test_three_bad_losses_in_a_row_are_a_divergence() -> None:
    probe = Probe(bad={1, 2, 4, 5, 6})
    with pytest.raises(DivergedError, match="step 6"):
        probe.run(10, save_every=1)
    assert torch.isfinite(probe.weight).all()
    assert probe.saved == [3]  # the only step whose loss was fine


def test_the_garbage_collector_is_given_back() -> None:
    Probe().run()
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_what_refers_to_itself_goes_with_the_next_save() -> None:
    class Thing:
        pass

    things: list[weakref.ref[Thing]] = []
    living: dict[int, int] = {}

    def listen(event: Event) -> None:
        if isinstance(event, StepDone):
            living[event.step] = sum(thing() is not None for thing in things)
            thing = Thing()
            thing.itself = thing  # type: ignore[attr-defined]
            things.append(weakref.ref(thing))

    probe = Probe(on_event=listen)
    probe.run(7, save_every=3)
    assert living[3] == 2
    assert living[4] == living[7] == 0


def test_loss_without_compilation() -> None:
    class Model(nn.Module):
        def forward(self, ids: Tensor, targets: Tensor, reduction: str) -> Tensor:
            assert reduction == "sum"
            return (ids - targets).sum().float()

    loss = compiled_loss(Model(), use_compile=False)
    assert float(loss(torch.tensor([5]), torch.tensor([3]))) == 2
