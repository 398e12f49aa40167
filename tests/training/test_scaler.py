"""Loss scaling, alone and around a float16 model that really trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nanochat.config.model import era_config
from nanochat.errors import DivergedError
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.runtime.events import Event, Notice, StepDone
from nanochat.training.batches import Batch
from nanochat.training.device_batch import DeviceBatch
from nanochat.training.loop import Dials, Loop, TrainState
from nanochat.training.optimizer import LearningRates, build_optimizer
from nanochat.training.scaler import GROWTH_INTERVAL, LARGEST, LossScaler


def params(*gradients: list[float]) -> list[nn.Parameter]:
    made = []
    for gradient in gradients:
        param = nn.Parameter(torch.zeros(len(gradient)))
        param.grad = torch.tensor(gradient)
        made.append(param)
    return made


class TestScaler:
    def test_unscales(self) -> None:
        scaler = LossScaler(scale=8.0)
        made = [*params([8.0, -16.0], [0.0]), nn.Parameter(torch.zeros(1))]
        assert scaler.unscale(made)
        assert made[0].grad is not None and made[0].grad.tolist() == [1.0, -2.0]
        assert (scaler.scale, scaler.good_steps) == (8.0, 1)

    @pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
    def test_halves_on_overflow(self, bad: float) -> None:
        scaler = LossScaler(scale=8.0, good_steps=5)
        assert not scaler.unscale(params([1.0], [1.0, bad]))
        assert (scaler.scale, scaler.good_steps) == (4.0, 0)

    def test_opposite_infinities_do_not_cancel(self) -> None:
        assert not LossScaler().unscale(params([math.inf, -math.inf]))

    def test_grows(self) -> None:
        scaler = LossScaler(scale=8.0)
        for _ in range(GROWTH_INTERVAL):
            assert scaler.scale == 8.0
            scaler.unscale(params([1.0]))
        assert scaler == LossScaler(scale=16.0)

    def test_grows_only_so_far(self) -> None:
        scaler = LossScaler(scale=LARGEST, good_steps=GROWTH_INTERVAL - 1)
        scaler.unscale(params([1.0]))
        assert scaler.scale == LARGEST

    def test_is_exhausted_below_one(self) -> None:
        assert not LossScaler(scale=1.0).exhausted
        assert LossScaler(scale=0.5).exhausted

    def test_its_state_goes_through_a_checkpoint(self) -> None:
        scaler = LossScaler(scale=4.0, good_steps=3)
        assert LossScaler(**asdict(scaler)) == scaler


def tiny() -> GPT:
    config = era_config("D", n_layer=2, n_head=2, n_kv_head=1, n_embd=64, sequence_len=32, vocab_size=300)
    return init_weights(GPT(config), 0)


class Source:
    """The same four rows again and again, as something to learn by heart."""

    def step(self, rows: int) -> Batch:
        ids = torch.randint(300, (rows, 33), generator=torch.Generator().manual_seed(0))
        return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())

    def state(self) -> dict[str, Any]:
        return {}


def run(
    dtype: torch.dtype,
    steps: int,
    scaler: LossScaler | None,
    spoil: Callable[[GPT], None] = lambda model: None,
    micro_rows: int = 2,
) -> tuple[GPT, list[float], list[Event]]:
    """Train `tiny` for a while; the losses, and everything that was told."""
    model = tiny().compute_in(dtype)
    events: list[Event] = []

    def loss(ids: Tensor, targets: Tensor) -> Tensor:
        spoil(model)
        return model(ids, targets, reduction="sum")

    Loop(
        stage="base",
        loss=loss,
        optimizer=build_optimizer(model, LearningRates(), batch_scale=0.05),
        source=Source(),
        rows=4,
        device_batch=DeviceBatch(rows=micro_rows, step_rows=4),
        total_steps=steps,
        dials=lambda step: Dials(lr_multiplier=1.0, momentum=0.9),
        device="cpu",
        evaluate=lambda state: 1.0,
        save=lambda state: None,
        eval_every=0,
        save_every=0,
        on_event=events.append,
        scaler=scaler,
    ).run(TrainState())
    return model, [event.loss for event in events if isinstance(event, StepDone)], events


def test_float16_trains_like_float32() -> None:
    scaler = LossScaler()
    model, losses, events = run(torch.float16, 12, scaler)
    _, exact, _ = run(torch.float32, 12, None)
    assert losses[-1] < losses[0] - 0.5
    assert losses[-1] == pytest.approx(exact[-1], abs=0.05 * (exact[0] - exact[-1]))
    assert all(param.dtype == torch.float32 for param in model.parameters())  # embeddings too
    assert scaler.good_steps == 12
    assert not [event for event in events if isinstance(event, Notice)]


def test_small_gradients_survive_only_scaled() -> None:
    """What loss scaling is for: with the mean over a real batch the gradients vanish in float16."""
    shares = []
    for scale in (1.0, 2.0**16):
        model = tiny().compute_in(torch.float16)
        batch = Source().step(4)
        (model(batch.ids, batch.targets, reduction="sum") / 2**19 * scale).backward()
        grad = model.blocks[0].attn.c_proj.weight.grad
        assert grad is not None
        shares.append(float((grad != 0).float().mean()))
    assert shares[0] < 0.5
    assert shares[1] > 0.95


def test_overflows_are_left_out_and_no_divergence() -> None:
    """A factor far too large: steps are skipped until it fits, more of them than three, and then training goes on."""
    before = {name: param.clone() for name, param in tiny().named_parameters()}
    scaler = LossScaler(scale=2.0**40)
    seen: list[bool] = []

    def compare(model: GPT) -> None:
        seen.append(all(torch.equal(param, before[name]) for name, param in model.named_parameters()))

    _, losses, events = run(torch.float16, 30, scaler, compare)
    skipped = losses.count(losses[0]) - 1
    assert skipped > 3
    assert seen[: 2 * skipped] == [True] * 2 * skipped
    assert scaler.scale < 2.0**40 / 2**3
    assert losses[-1] < losses[0] - 0.3
    assert not [event for event in events if isinstance(event, Notice)]


def test_without_end_they_are_a_divergence() -> None:
    def spoil(model: GPT) -> None:
        model.smear_lambda.register_hook(lambda grad: grad * math.inf)

    with pytest.raises(DivergedError, match="float16"):
        run(torch.float16, 30, LossScaler(scale=4.0), spoil)


def test_micro_steps_share_the_factor() -> None:
    """However a step is cut, its update is the same within float16's error."""
    whole, cut = (run(torch.float16, 4, LossScaler(), micro_rows=rows)[1] for rows in (4, 1))
    assert whole == pytest.approx(cut, rel=1e-3)
    assert whole[-1] < whole[0]
