"""The policy gradient against the formula written out, and what must not change it."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from doubles import random_model
from torch import Tensor

from nanochat.model.gpt import GPT
from nanochat.training.policy import (
    PolicyBatch,
    Rollout,
    advantages,
    logprobs_of,
    policy_batch,
    policy_loss,
    row_length,
)

PAD = 3


def rollouts(seed: int, examples: int = 3, samples: int = 4) -> list[list[Rollout]]:
    """Answers of many lengths, some tokens forced, with rewards that differ in all groups but the last."""
    draw = random.Random(seed)
    groups = []
    for example in range(examples):
        prompt = tuple(draw.randrange(250) for _ in range(draw.randrange(2, 9)))
        group = []
        for _ in range(samples):
            length = draw.randrange(1, 12)
            forced = tuple(draw.random() < 0.3 for _ in range(length - 1))
            tokens = tuple(draw.randrange(250) for _ in range(length))
            reward = 0.5 if example == examples - 1 else draw.choice([0.0, 1.0, 0.25])
            group.append(Rollout(prompt, tokens, (*forced, False), reward))
        groups.append(group)
    return groups


def token_logprobs(model: GPT, rollout: Rollout) -> Tensor:
    """Of the tokens that the model chose, one answer at a time."""
    ids = torch.tensor([rollout.prompt + rollout.tokens])
    logprobs = model(ids[:, :-1]).log_softmax(-1)[0]
    first = len(rollout.prompt) - 1
    chosen = [at for at, forced in enumerate(rollout.forced) if not forced]
    return torch.stack([logprobs[first + at, rollout.tokens[at]] for at in chosen])


def plain_formula(model: GPT, groups: list[list[Rollout]], start: GPT | None = None, kl: float = 0.0) -> Tensor:
    """Mean over examples of the sum over answers and tokens of -A log p (+ kl * k3), over the valid tokens of all."""
    losses = []
    for group in groups:
        mean = sum(rollout.reward for rollout in group) / len(group)
        valid = sum(not forced for rollout in group for forced in rollout.forced)
        total = torch.zeros(())
        for rollout in group:
            logprobs = token_logprobs(model, rollout)
            total = total - (rollout.reward - mean) * logprobs.sum()
            if start is not None:
                away = token_logprobs(start, rollout).detach() - logprobs
                total = total + kl * (away.exp() - away - 1).sum()
        losses.append(total / valid)
    return torch.stack(losses).mean()


def gradients(model: GPT, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: param.grad.clone() for name, param in model.named_parameters() if param.grad is not None}


def check_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], rtol=1e-4, atol=1e-6)


def in_parts(loss: Any, batch: PolicyBatch, rows: int) -> Tensor:
    """The loss of the batch, `rows` at a time."""
    pieces = range(0, len(batch.ids), rows)
    return sum((loss(*(part[at : at + rows] for part in batch.tensors)) for at in pieces), torch.zeros(()))


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_gradients_are_those_of_the_formula(rows: int) -> None:
    model, groups = random_model("D", n_layer=1), rollouts(1)
    batch = policy_batch(groups, examples=3, pad=PAD, keep_all=False)
    check_same(
        gradients(model, in_parts(policy_loss(model), batch, rows)), gradients(model, plain_formula(model, groups))
    )


def test_with_a_penalty_every_answer_counts() -> None:
    model, start, groups = random_model("D", n_layer=1), random_model("D", 5, n_layer=1), rollouts(2)
    batch = policy_batch(groups, examples=3, pad=PAD, keep_all=True)
    assert len(batch.ids) == 12
    batch = replace(batch, start=logprobs_of(start, batch, 5))
    ours = in_parts(policy_loss(model, kl=0.3), batch, 4)
    plain = plain_formula(model, groups, start, 0.3)
    torch.testing.assert_close(ours - plain, torch.zeros(()), atol=1e-4, rtol=0)
    check_same(gradients(model, ours), gradients(model, plain))


def test_examples_that_tell_nothing_are_left_out_and_change_nothing() -> None:
    model, groups = random_model("D", n_layer=1), rollouts(3)
    batch = policy_batch(groups, examples=3, pad=PAD, keep_all=False)
    different = sum(advantage != 0 for group in groups for advantage in advantages([r.reward for r in group]))
    assert len(batch.ids) == different < 12
    whole = policy_batch(groups, examples=3, pad=PAD, keep_all=True)
    loss = policy_loss(model)
    check_same(gradients(model, in_parts(loss, batch, 4)), gradients(model, in_parts(loss, whole, 5)))


def test_rows_that_only_fill_up_change_nothing() -> None:
    model, groups = random_model("D", n_layer=1), rollouts(6)
    batch = policy_batch(groups, examples=3, pad=PAD, keep_all=False)
    filled = policy_batch(groups, examples=3, pad=PAD, keep_all=False, multiple=5)
    assert len(batch.ids) % 5
    assert len(filled.ids) % 5 == 0
    loss = policy_loss(model)
    check_same(gradients(model, in_parts(loss, filled, 5)), gradients(model, in_parts(loss, batch, 5)))


def test_examples_shared_out_give_the_same_sum() -> None:
    model, groups = random_model("D", n_layer=1), rollouts(4)
    loss = policy_loss(model)
    parts = [policy_batch(part, examples=3, pad=PAD, keep_all=False) for part in (groups[:2], groups[2:], [])]
    assert [int((part.targets >= 0).sum()) > 0 for part in parts] == [True, False, False]
    alone = policy_batch(groups, examples=3, pad=PAD, keep_all=False)
    shared = sum((in_parts(loss, part, 2) for part in parts), torch.zeros(()))
    check_same(gradients(model, shared), gradients(model, in_parts(loss, alone, 2)))


def test_before_anything_has_moved_the_ratio_is_one() -> None:
    model, groups = random_model("D", n_layer=1), rollouts(5)
    batch = policy_batch(groups, examples=3, pad=PAD, keep_all=False)
    compared = replace(batch, before=logprobs_of(model, batch, 4))
    ours = gradients(model, in_parts(policy_loss(model, clip=0.2, moved=True), compared, 4))
    check_same(ours, gradients(model, in_parts(policy_loss(model), batch, 4)))


@pytest.mark.parametrize(
    ("advantage", "moved_by", "moves"),
    [(1.0, 0.5, False), (1.0, -0.5, True), (-1.0, -0.5, False), (-1.0, 0.5, True), (1.0, 0.1, True)],
)
def test_clipping_stops_what_has_gone_far_enough(advantage: float, moved_by: float, moves: bool) -> None:
    """The bound is pessimistic: what has gone the wrong way is pulled back however far it is."""
    model = random_model("D", n_layer=1)
    rewards = (1.0, 0.0) if advantage > 0 else (0.0, 1.0)
    group = [Rollout((1, 2), (7, 8), (False, False), rewards[0]), Rollout((1, 2), (9,), (True,), rewards[1])]
    batch = policy_batch([group], examples=1, pad=PAD, keep_all=False)
    before = logprobs_of(model, batch, 2) - moved_by * (batch.targets >= 0)
    found = gradients(model, in_parts(policy_loss(model, clip=0.2, moved=True), replace(batch, before=before), 2))
    assert any(bool(gradient.abs().sum() > 0) for gradient in found.values()) is moves


def test_targets_are_what_the_model_chose() -> None:
    rollout = Rollout((10, 11), (20, 21, 22), (False, True, False), 1.0)
    other = Rollout((10, 11), (30,), (False,), 0.0)
    batch = policy_batch([[rollout, other]], examples=2, pad=PAD, keep_all=False)
    assert batch.ids.shape == (2, 16)
    assert batch.ids[0, :6].tolist() == [10, 11, 20, 21, 22, PAD]
    assert batch.targets[0, :5].tolist() == [-1, 20, -1, 22, -1]
    assert batch.weights is not None
    assert batch.weights[0, :4].tolist() == pytest.approx([0, 0.5 / 3 / 2, 0, 0.5 / 3 / 2])
    assert batch.weights[1, :3].tolist() == pytest.approx([0, -0.5 / 3 / 2, 0])
    assert batch.divisor(3) == 1


def test_equal_rewards_are_no_advantage_whatever_rounding_makes_of_their_mean() -> None:
    assert sum([0.1] * 7) / 7 != 0.1
    assert advantages([0.1] * 7) == [0.0] * 7
    assert advantages([1.0, 0.0, 0.5]) == [0.5, -0.5, 0.0]


def test_rows_have_few_lengths() -> None:
    assert [row_length(n) for n in (1, 16, 17, 25, 33, 50, 65, 200)] == [16, 16, 24, 32, 48, 64, 96, 256]
    assert len({row_length(n) for n in range(1, 2049)}) == 15
