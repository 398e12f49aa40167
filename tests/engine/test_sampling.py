from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat.config.chat import SamplingConfig
from nanochat.engine.sampling import make_generator, sample
from nanochat.errors import UsageError

CPU = torch.device("cpu")

logits_rows = st.lists(st.lists(st.floats(-15, 15, width=32), min_size=12, max_size=12), min_size=1, max_size=4).map(
    torch.tensor
)


@settings(max_examples=60, deadline=None)
@given(
    logits=logits_rows,
    temperature=st.floats(1e-30, 4),
    top_k=st.none() | st.integers(1, 20),
    top_p=st.none() | st.floats(0.01, 1),
    seed=st.integers(0, 2**63 - 1),
)
def test_only_allowed_tokens_are_drawn(
    logits: torch.Tensor, temperature: float, top_k: int | None, top_p: float | None, seed: int
) -> None:
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    ids, logprobs = sample(logits, config, make_generator(config, CPU))
    again, _ = sample(logits, config, make_generator(config, CPU))
    assert ids.tolist() == again.tolist(), "a seed makes it repeatable"
    for row, token in enumerate(ids.tolist()):
        likelier = logits[row] > logits[row, token]
        if top_k is not None:
            assert int(likelier.sum()) < top_k
        if top_p is not None and top_p < 1:
            # What is likelier holds less than top_p of the whole, and of the top_k all the more so.
            scaled = (logits[row] - logits[row].max()) / temperature
            assert scaled.softmax(-1)[likelier].sum() < top_p + 1e-5
        assert logprobs[row].item() == pytest.approx(logits[row].log_softmax(-1)[token].item(), abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(logits=logits_rows)
def test_temperature_zero_and_top_k_one_are_greedy(logits: torch.Tensor) -> None:
    greedy, _ = sample(logits, SamplingConfig(temperature=0))
    assert greedy.tolist() == logits.argmax(-1).tolist()
    ids, _ = sample(logits, SamplingConfig(temperature=1, top_k=1))
    assert logits.gather(1, ids[:, None]).equal(logits.gather(1, greedy[:, None]))


def test_draws_follow_the_truncated_distribution() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().expand(20_000, 4)
    for config, expected in (
        (SamplingConfig(temperature=1, top_k=None), [0.4, 0.3, 0.2, 0.1]),
        (SamplingConfig(temperature=1, top_k=2), [4 / 7, 3 / 7, 0, 0]),
        (SamplingConfig(temperature=1, top_k=None, top_p=0.8), [4 / 9, 3 / 9, 2 / 9, 0]),
        (SamplingConfig(temperature=0.5, top_k=None), [16 / 30, 9 / 30, 4 / 30, 1 / 30]),
    ):
        generator = torch.Generator().manual_seed(0)
        ids, _ = sample(logits, config, generator)
        shares = torch.bincount(ids, minlength=4) / len(ids)
        assert shares.tolist() == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.5},
        {"seed": -1},
        {"max_new_tokens": 0},
    ],
)
def test_impossible_values_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SamplingConfig(**wrong)  # type: ignore[arg-type]
