"""Memory: which errors mean that it ended, how much there is."""

from __future__ import annotations

import psutil
import pytest
import torch

from nanochat.runtime import memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    ],
)
def test_errors_of_memory(error: BaseException) -> None:
    assert memory.is_out_of_memory(error)


def test_torch_says_so_itself() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert memory.is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no memory")])
def test_other_errors(error: BaseException) -> None:
    assert not memory.is_out_of_memory(error)


def test_figures_of_a_cpu() -> None:
    total = psutil.virtual_memory().total
    assert 0 < memory.free_bytes("cpu") <= total
    memory.forget_peak("cpu")
    assert 0 < memory.peak_bytes("cpu") <= total
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    assert memory.peak_bytes("cpu") >= psutil.Process().memory_info().rss - 2**20
    assert held.sum() > 0
    memory.give_back_cached("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_figures_of_a_gpu() -> None:
    memory.forget_peak("cuda")
    before = memory.free_bytes("cuda")
    held = torch.ones(64 * 2**20, dtype=torch.uint8, device="cuda")
    assert memory.peak_bytes("cuda") >= held.numel()
    assert memory.free_bytes("cuda") <= before - held.numel() // 2
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8, device="cuda")
    assert memory.is_out_of_memory(caught.value)
