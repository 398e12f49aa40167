"""Steps of the real model with the real optimizer on random tokens, timed. Nothing is kept."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from nanochat.config.bench import BenchMatmulConfig, BenchTrainConfig
from nanochat.errors import OutOfMemoryError
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.model.sizes import count_parameters, flops_per_token
from nanochat.runtime.context import RunContext
from nanochat.runtime.devices import matmul_rates, synchronize
from nanochat.runtime.memory import forget_peak, is_out_of_memory, peak_bytes
from nanochat.runtime.peaks import Peak, peak_of, utilization
from nanochat.stages.settle import place_model
from nanochat.training.loop import compiled_loss
from nanochat.training.optimizer import LearningRates, build_optimizer


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSpeed:
    """How fast a model trains. Times are medians over the steps after the first, which compiles.

    Attributes:
        first_step_s: the step to warm up, compilation included.
        step_s: a whole step.
        optimizer_s: the part of it that the optimizer takes.
        tokens_per_s: of whole steps.
        mfu: share of the peak that the model's own arithmetic takes; None when the peak is unknown.
        peak: the most the device can do.
        peak_memory_bytes: of the process on a CPU, of tensors on a GPU.
        parameters: of the model.
    """

    parameters: int
    tokens_per_step: int
    first_step_s: float
    step_s: float
    optimizer_s: float
    tokens_per_s: float
    mfu: float | None
    peak: Peak
    peak_memory_bytes: int


def bench_train(config: BenchTrainConfig, context: RunContext) -> TrainSpeed:
    """Train a fresh model for a few steps.

    Raises:
        OutOfMemoryError: the model or its batch does not fit.
    """
    try:
        return _bench_train(config, context)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"out of memory: {' '.join(str(error).split()[:20])}",
            "lower --device-batch-size (half of it first), then --sequence-len or --depth",
        ) from None


def _bench_train(config: BenchTrainConfig, context: RunContext) -> TrainSpeed:
    shape = config.model()
    peak = peak_of(context)
    forget_peak(context.device)
    model = GPT(shape)
    init_weights(model, seed=0)
    place_model(model, context)
    optimizer = build_optimizer(model, LearningRates(), compile=context.compile)
    loss = compiled_loss(model, use_compile=context.compile)
    size = (config.device_batch_size, shape.sequence_len)
    ids = torch.randint(0, shape.vocab_size, (2, *size), generator=torch.Generator().manual_seed(0))
    inputs, targets = ids[0].to(context.device), ids[1].to(context.device)
    whole, ends = [], []
    for _ in range(1 + config.steps):
        started = time.perf_counter()
        (loss(inputs, targets) / targets.numel()).backward()
        synchronize(context.device)
        between = time.perf_counter()
        optimizer.step(lr_multiplier=1.0, momentum=0.95)
        optimizer.zero_grad()
        synchronize(context.device)
        now = time.perf_counter()
        whole.append(now - started)
        ends.append(now - between)
    step_s = statistics.median(whole[1:])
    rate = targets.numel() / step_s
    return TrainSpeed(
        parameters=count_parameters(shape).total,
        tokens_per_step=targets.numel(),
        first_step_s=whole[0],
        step_s=step_s,
        optimizer_s=statistics.median(ends[1:]),
        tokens_per_s=rate,
        mfu=utilization(flops_per_token(shape), rate, peak),
        peak=peak,
        peak_memory_bytes=peak_bytes(context.device),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class MatmulSpeed:
    """One size in one dtype. `share` is of the device's stated peak, or of the best that was measured in that dtype."""

    size: int
    dtype: str
    flops: float
    share: float


def bench_matmul(config: BenchMatmulConfig, context: RunContext) -> list[MatmulSpeed]:
    """Products of square matrices in each size and dtype."""
    dtypes = ("float32", "bfloat16") if context.device == "cpu" else ("float32", "bfloat16", "float16")
    rates = {
        size: matmul_rates(dtypes, size, config.seconds * len(dtypes), context.device) for size in config.numbers()
    }
    stated = peak_of(context).flops if context.device == "cuda" else None
    best = {dtype: stated or max(rates[size][dtype] for size in rates) for dtype in dtypes}
    return [
        MatmulSpeed(size=size, dtype=dtype, flops=rate, share=rate / best[dtype])
        for size, of_size in rates.items()
        for dtype, rate in of_size.items()
    ]
