"""What this machine can do: device, number format, compiler, and a description of it for the record."""

from __future__ import annotations

import math
import os
import platform
import shutil
import time
from collections.abc import Sequence
from typing import Any

import psutil

from nanochat.errors import UsageError
from nanochat.runtime.caches import keep_compiled
from nanochat.runtime.context import RunContext
from nanochat.runtime.paths import Paths
from nanochat.runtime.processes import join

BF16_GAIN = 1.3  # bf16 must beat float32 by this factor in the probe: elementwise work eats small gains


def pick_device(wanted: str) -> str:
    """`wanted`, or for "auto" cuda, mps or cpu, the first there is.

    Raises:
        UsageError: the wanted device is not there.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there.get(wanted, False):
        raise UsageError(f"device {wanted!r} is not available here", "try --device cpu")
    return wanted


def pick_threads(wanted: int) -> int:
    """`wanted`, or for 0 the cores this process may use."""
    if wanted:
        return wanted
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pick_dtype(wanted: str, device: str) -> str:
    """`wanted`, or for "auto" the fastest: by rule on GPUs, by a short matmul probe of bfloat16 on CPUs.

    CUDA GPUs without bfloat16 (older than Ampere) have float16, which trains with a loss scaler.
    """
    import torch

    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    if device == "mps":
        return "float32"
    rates = matmul_rates(("float32", "bfloat16"))
    return "bfloat16" if rates["bfloat16"] >= BF16_GAIN * rates["float32"] else "float32"


def matmul_rates(dtypes: Sequence[str], size: int = 512, seconds: float = 0.5, device: str = "cpu") -> dict[str, float]:
    """Floating-point operations per second of a square matmul in each dtype.

    The dtypes take turns and the best of all repeats counts, so that a core busy elsewhere misleads less. Takes
    `seconds` or, on a slow machine, three turns.
    """
    import torch

    matrices = {name: torch.ones(size, size, dtype=getattr(torch, name), device=device) for name in dtypes}
    best = dict.fromkeys(dtypes, math.inf)
    begun, turns = time.perf_counter(), 0
    while turns < 3 or time.perf_counter() - begun < seconds:
        turns += 1
        for name, matrix in matrices.items():
            start = time.perf_counter()
            matrix @ matrix
            synchronize(device)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: 2 * size**3 / took for name, took in best.items()}


def synchronize(device: str) -> None:
    """Wait until the device has done all it was given; a CPU has always."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def cxx_compiler() -> str | None:
    """The C++ compiler torch.compile would use on a CPU, or None."""
    candidates = [os.environ.get("CXX", ""), "g++", "clang++"]
    return next((found for name in candidates if name and (found := shutil.which(name))), None)


def pick_compile(wanted: str, device: str) -> tuple[bool, str]:
    """Whether to use torch.compile, and the reason when "auto" says no.

    Raises:
        UsageError: it was asked for and cannot work.
    """
    if wanted == "off":
        return False, ""
    lacking = ""
    if device == "cpu" and cxx_compiler() is None:
        lacking = "no C++ compiler found; training runs without torch.compile (slower): install g++ or clang"
    elif device == "mps":
        lacking = "torch.compile is not used on mps"
    if lacking and wanted == "on":
        raise UsageError(lacking.split(";", maxsplit=1)[0], "leave --compile at auto")
    return not lacking, lacking


def cpu_name() -> str:
    """The processor as it calls itself."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123 - a virtual file
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory and versions, as plain values for the record of a run."""
    import torch

    machine: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": pick_threads(0),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
        machine["gpus"] = torch.cuda.device_count()
    return machine


def peak_memory_bytes() -> int:
    """The most memory this process has held resident."""
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return int(peak) * (1 if platform.system() == "Darwin" else 1024)
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().rss)


def open_context(
    paths: Paths, *, device: str = "auto", dtype: str = "auto", compile: str = "auto", threads: int = 0
) -> tuple[RunContext, list[str]]:
    """Decide where to compute, tell torch how many threads it has and where it keeps compiled code, and meet the other
    processes of this run where there are any.

    Returns:
        The context, and lines a person should read about what this machine lacks.

    Raises:
        UsageError: something was asked for that is not there.
    """
    keep_compiled(paths, os.environ)
    import torch

    place = pick_device(device)
    processes = join(os.environ, place)
    count = threads or max(1, pick_threads(0) // processes.local_world_size)
    torch.set_num_threads(count)
    use_compile, lacking = pick_compile(compile, place)
    asked = {"dtype": dtype != "auto", "compile": compile != "auto" or not use_compile, "threads": threads > 0}
    context = RunContext(
        paths=paths,
        device=place,
        dtype=processes.first_does(lambda: pick_dtype(dtype, place)),
        compile=use_compile,
        threads=count,
        processes=processes,
        open=frozenset(name for name, given in asked.items() if place == "cpu" and not given),
    )
    return context, [lacking] if lacking else []
