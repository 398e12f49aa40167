"""Rows at a time: the first guess, and what happens when memory ends."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.config.model import era_config, model_shape
from nanochat.errors import OutOfMemoryError
from nanochat.training.device_batch import DeviceBatch, activation_bytes, divisor_at_most, first_guess

MODEL = era_config("D", sequence_len=512, vocab_size=32_768, **model_shape(4, head_dim=64))


@given(number=st.integers(1, 3000), limit=st.floats(-5, 5000))
def test_divisors(number: int, limit: float) -> None:
    found = divisor_at_most(number, limit)
    assert number % found == 0
    assert found <= max(1, limit)
    assert not [n for n in range(found + 1, int(min(limit, number)) + 1) if number % n == 0]


class TestFirstGuess:
    def test_a_cpu_takes_what_pays(self) -> None:
        assert first_guess(MODEL, 64, "cpu", 10**12) == 8  # 4,096 tokens
        assert first_guess(MODEL, 4, "cpu", 10**12) == 4
        assert first_guess(MODEL, 30, "cpu", 10**12) == 6

    def test_a_cpu_takes_no_more_than_fits(self) -> None:
        assert first_guess(MODEL, 64, "cpu", 4 * activation_bytes(MODEL)) == 2
        assert first_guess(MODEL, 64, "cpu", -1) == 1

    def test_a_gpu_begins_above_what_is_sure_to_fit(self) -> None:
        assert first_guess(MODEL, 1024, "cuda", 100 * activation_bytes(MODEL)) == 128
        assert first_guess(MODEL, 64, "cuda", 10**13) == 64


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
@pytest.mark.parametrize("limit", [1, 4, 5, 32])
def test_halves_until_it_fits(error: Exception, limit: int) -> None:
    told: list[int] = []
    batch = DeviceBatch(rows=32, step_rows=64, automatic=True, on_lower=told.append)

    def work(rows: int) -> str:
        if rows > limit:
            raise error
        return f"{rows} rows"

    expected = max(rows for rows in (32, 16, 8, 4, 2, 1) if rows <= limit)
    assert batch.attempt(work) == f"{expected} rows"
    assert told == [rows for rows in (16, 8, 4, 2, 1) if rows >= expected]
    assert batch.attempt(work) == f"{expected} rows"  # it stays there


def test_rows_divide_the_step() -> None:
    batch = DeviceBatch(rows=15, step_rows=30, automatic=True)
    seen: list[int] = []

    def work(rows: int) -> None:
        seen.append(rows)
        if rows > 2:
            raise MemoryError

    batch.attempt(work)
    assert seen == [15, 6, 3, 1]


def no_memory(rows: int) -> None:
    raise MemoryError("cannot allocate 2 GiB")


def test_rows_that_were_asked_for_are_not_changed() -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        DeviceBatch(rows=32, step_rows=64).attempt(no_memory)
    assert caught.value.exit_code == 4
    assert "32 rows at a time: cannot allocate 2 GiB" in caught.value.message
    assert "--device-batch-size 16, or auto" in caught.value.hint


def test_less_than_one_row_there_is_not() -> None:
    with pytest.raises(OutOfMemoryError) as caught:
        DeviceBatch(rows=4, step_rows=4, automatic=True).attempt(no_memory)
    assert "--sequence-len" in caught.value.hint


def test_other_errors_pass() -> None:
    def wrong(rows: int) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        DeviceBatch(rows=4, step_rows=4, automatic=True).attempt(wrong)
