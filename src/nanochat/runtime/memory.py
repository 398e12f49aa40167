"""Memory of a device: how much is free, what the most was, and whether an error says that there was too little."""

from __future__ import annotations

import gc

import psutil

from nanochat.runtime.devices import peak_memory_bytes

SAID = ("out of memory", "DefaultCPUAllocator: can't allocate", "DefaultCPUAllocator: not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this is what Python or torch raises when memory ends; on a CPU and on MPS a plain RuntimeError.

    Told by name, so that torch need not be imported: that would cost every command two seconds.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or any(words in str(error) for words in SAID)


def free_bytes(device: str) -> int:
    """Memory that could still be taken, without pushing anything out to disk."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0]) + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return int(psutil.virtual_memory().available)


def forget_peak(device: str) -> None:
    """Begin anew with `peak_bytes`; a CPU process cannot, its peak is that of its whole life."""
    if device == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()


def peak_bytes(device: str) -> int:
    """The most that was held: by tensors on a GPU, by the whole process on everything else."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    return peak_memory_bytes()


def give_back_cached(device: str) -> None:
    """Let go of what a failed attempt left in caches."""
    gc.collect()
    if device == "cuda":
        import torch

        torch.cuda.empty_cache()
