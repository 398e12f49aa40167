from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from nanochat.config.chat import SamplingConfig
from nanochat.engine.sampling import LIKELY, Choice, Sampler, choose, distribution
from nanochat.errors import UsageError

logits_row = st.lists(st.floats(-15, 15, width=32), min_size=12, max_size=12).map(torch.tensor)


def chosen(logits: torch.Tensor, config: SamplingConfig, said: list[int] | None = None) -> Choice:
    return choose(logits[None], [Sampler(config)], [said or []])[0]


def full(logits: torch.Tensor, config: SamplingConfig, said: list[int] | None = None) -> torch.Tensor:
    """The distribution over all tokens."""
    probabilities, ids = distribution(logits, config, said or [])
    assert len(set(ids.tolist())) == len(ids)
    return torch.zeros_like(logits).index_put((ids,), probabilities)


def clear(one: float, other: float) -> bool:
    """Whether rounding cannot turn the comparison of two numbers round; only such cases are compared."""
    assume(abs(one - other) > 1e-4 * max(abs(one), abs(other)))
    return one < other


def slow(logits: torch.Tensor, config: SamplingConfig, said: list[int]) -> torch.Tensor:
    """The definition, token by token, in Python."""
    values = logits.double().tolist()
    for token, bias in config.logit_bias:
        values[token] += bias
    for token in set(said):
        penalty = config.repetition_penalty
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    scaled = (torch.tensor(values, dtype=torch.float64) - max(values)) / config.temperature
    order = sorted(range(len(values)), key=lambda token: -scaled[token].item())
    if config.top_k is not None and config.top_k < len(order):
        assert clear(scaled[order[config.top_k]].item(), scaled[order[config.top_k - 1]].item())
        order = order[: config.top_k]
    shares = dict(zip(order, scaled[order].softmax(-1).tolist(), strict=True))
    if config.top_p is not None and config.top_p < 1:
        kept: list[int] = []
        for token in order:
            if not clear(sum(shares[other] for other in kept), config.top_p):
                break
            kept.append(token)
        order = kept
    if config.min_p:
        least = config.min_p * shares[order[0]]
        order = [token for token in order if token == order[0] or not clear(shares[token], least)]
    whole = sum(shares[token] for token in order)
    result = torch.zeros(len(values), dtype=torch.float64)
    for token in order:
        result[token] = shares[token] / whole
    return result


configs = st.builds(
    SamplingConfig,
    temperature=st.floats(0.3, 4),
    top_k=st.none() | st.integers(1, 20),
    top_p=st.none() | st.floats(0.01, 1),
    min_p=st.none() | st.floats(0, 1),
    repetition_penalty=st.just(1.0) | st.floats(0.5, 2),
    logit_bias=st.lists(st.tuples(st.integers(0, 11), st.floats(-5, 5)), max_size=3).map(tuple),
)


@settings(max_examples=150, deadline=None)
@given(
    values=st.permutations([-4.0, -3.1, -2.3, -1.6, -0.7, 0.1, 0.9, 1.4, 2.2, 3.0, 4.1, 5.3]),
    config=configs,
    said=st.lists(st.integers(0, 11), max_size=5),
)
def test_the_distribution_is_the_definition(values: list[float], config: SamplingConfig, said: list[int]) -> None:
    logits = torch.tensor(values)
    torch.testing.assert_close(full(logits, config, said).double(), slow(logits, config, said), atol=1e-4, rtol=1e-3)


@settings(max_examples=60, deadline=None)
@given(logits=logits_row, config=configs, seed=st.integers(0, 2**63 - 1), temperature=st.floats(1e-30, 4))
def test_only_possible_tokens_are_drawn(
    logits: torch.Tensor, config: SamplingConfig, seed: int, temperature: float
) -> None:
    config = SamplingConfig(
        temperature=temperature, top_k=config.top_k, top_p=config.top_p, min_p=config.min_p, seed=seed
    )
    choice = chosen(logits, config)
    assert choice == chosen(logits, config), "a seed makes it repeatable"
    assert full(logits, config)[choice.token] > 0
    assert choice.logprob == pytest.approx(logits.log_softmax(-1)[choice.token].item(), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(logits=logits_row)
def test_temperature_zero_and_top_k_one_are_greedy(logits: torch.Tensor) -> None:
    token = chosen(logits, SamplingConfig(temperature=0)).token
    assert token == int(logits.argmax())
    assert logits[chosen(logits, SamplingConfig(temperature=1, top_k=1)).token] == logits[token]


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    for changes, expected in (
        ({}, [0.4, 0.3, 0.2, 0.1]),
        ({"top_k": 2}, [4 / 7, 3 / 7, 0, 0]),
        ({"top_p": 0.8}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"min_p": 0.3}, [4 / 9, 3 / 9, 2 / 9, 0]),
        ({"temperature": 0.5}, [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
        ({"logit_bias": ((0, -torch.inf),)}, [0, 3 / 6, 2 / 6, 1 / 6]),
    ):
        settings: dict[str, Any] = {"temperature": 1, "top_k": None, "seed": 0, **changes}
        sampler = Sampler(SamplingConfig(**settings))
        rows = logits.expand(200, 4)
        tokens = [choice.token for _ in range(20) for choice in choose(rows, [sampler] * 200, [[]] * 200)]
        shares = torch.bincount(torch.tensor(tokens), minlength=4) / len(tokens)
        assert shares.tolist() == pytest.approx(expected, abs=0.03)
        assert all(share == 0 for share, wanted in zip(shares.tolist(), expected, strict=True) if wanted == 0)


def test_rows_have_their_own_settings_and_seeds() -> None:
    logits = torch.randn(4, 300, generator=torch.Generator().manual_seed(0)) * 3
    settings = [
        SamplingConfig(temperature=0),
        SamplingConfig(temperature=1, top_k=None, seed=1),
        SamplingConfig(temperature=2, top_k=5, seed=2, top_logprobs=3),
        SamplingConfig(temperature=0, logit_bias=((7, 100.0),)),
    ]
    said: list[list[int]] = [[], [], [], []]
    together, alone = [Sampler(config) for config in settings], [Sampler(config) for config in settings]
    for _ in range(5):
        rows = choose(logits, together, said)
        single = [choose(logits[row, None], [alone[row]], [[]])[0] for row in range(4)]
        assert [choice.token for choice in rows] == [choice.token for choice in single]
        assert [choice.logprob for choice in rows] == pytest.approx([choice.logprob for choice in single], abs=1e-5)
        assert rows[3].token == 7
        best = logits[2].log_softmax(-1).topk(3)
        assert [token for token, _ in rows[2].top] == best.indices.tolist()
        assert [value for _, value in rows[2].top] == pytest.approx(best.values.tolist(), abs=1e-5)
        assert rows[0].top == ()


def test_a_penalty_lowers_what_was_said_whatever_its_sign() -> None:
    logits = torch.tensor([2.0, -2.0, 1.9, 0.0])
    assert chosen(logits, SamplingConfig(temperature=0, repetition_penalty=1.5), [0, 0]).token == 2
    got = full(logits, SamplingConfig(temperature=1, top_k=None, repetition_penalty=2.0), [0, 1])
    torch.testing.assert_close(got, torch.tensor([1.0, -4.0, 1.9, 0.0]).softmax(-1))


def test_flat_distributions_over_many_tokens_keep_all_of_top_p() -> None:
    logits = torch.zeros(8 * LIKELY)
    config = SamplingConfig(temperature=1, top_k=None, top_p=0.5)
    assert len(distribution(logits, config)[1]) == pytest.approx(4 * LIKELY, rel=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.5},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repetition_penalty": 0},
        {"repetition_penalty": float("nan")},
        {"seed": -1},
        {"max_new_tokens": 0},
        {"logit_bias": ((-1, 0.0),)},
        {"logit_bias": ((1, float("nan")),)},
        {"logit_bias": ((1, float("inf")),)},
        {"stop": ("",)},
        {"stop": ("a",) * 17},
        {"top_logprobs": 65},
    ],
)
def test_impossible_values_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SamplingConfig(**wrong)
