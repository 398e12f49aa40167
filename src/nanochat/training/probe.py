"""A few steps of the real model at the start of a run on a CPU: which number format, compiler and threads are fastest.

Float32 without the compiler is always among what is timed (unless a person ruled it out), so a run is never slower
than that. Each variant takes one step to warm up and then five; the best step counts. Only variants that took turns are
compared, since another program may come or go meanwhile: the formats first, then the winner against other thread
counts, then the winner against itself compiled (the run would have compiled it anyway, and takes it over).
Optimizer steps are left out: they cost every variant the same.

Left out: GPUs, where the rules of `runtime.devices` leave nothing to choose.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.memory import is_out_of_memory
from nanochat.training.loop import compiled_loss

STEPS = 5
# Three times six eager steps are about 25 steps' time of a compiled run: 5% of this many micro-steps without their
# optimizer, evaluations and the stages that take the result over. Shorter runs take the rules of `runtime.devices`.
PAYS_FROM = 500  # micro-steps
BOTH_COMPILED_FROM_S = 1200.0  # compiling a format that lost without the compiler costs some 15 s: about 1% of this


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One row of the table. `tokens_per_s` is None before it was timed, 0 where it could not run."""

    dtype: str
    compile: bool
    threads: int
    tokens_per_s: float | None = None

    @property
    def text(self) -> str:
        """`bfloat16 compiled, threads: 2`."""
        return f"{self.dtype} {'compiled' if self.compile else 'eager'}, threads: {self.threads}"

    @property
    def speed(self) -> float:
        """For comparing: 0 where nothing was measured."""
        return self.tokens_per_s or 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """What was measured, and the variant to train with."""

    variants: tuple[Variant, ...]
    best: Variant
    seconds: float

    @property
    def text(self) -> str:
        """The table on one line, the best first."""
        rest = sorted((row for row in self.variants if row != self.best), key=lambda variant: -variant.speed)
        return "fastest is " + ", then ".join(f"{row.text} at {row.speed:,.0f} tok/s" for row in (self.best, *rest))


def thread_counts(threads: int) -> list[int]:
    """`threads`, and the physical cores where they are fewer: two threads of one core share its multipliers."""
    physical = psutil.cpu_count(logical=False) or threads
    return [threads] + ([physical] if physical < threads else [])


def is_worthwhile(context: RunContext, micro_steps: int) -> bool:
    """Whether there is something to choose in a run of so many micro-steps."""
    return context.device == "cpu" and bool(context.open) and micro_steps >= PAYS_FROM


def probe(model: GPT, context: RunContext, rows: int, micro_steps: int, *, row_len: int | None = None) -> Probe:
    """Time the variants that are open and leave `model` as it was, in the best variant's dtype and threads.

    Args:
        model: on the device, with weights; they are not changed.
        context: what is open, and what the rules chose.
        rows: rows of a micro-step.
        micro_steps: of the whole run; decides what the probe may cost.
        row_len: tokens of a row; None is the model's context.
    """
    started = time.perf_counter()
    dtypes = ["float32", "bfloat16"] if "dtype" in context.open else [context.dtype]
    forced = context.compile and "compile" not in context.open
    contest = _Contest(model, rows, row_len or model.config.sequence_len)
    contest.enter([Variant(dtype=dtype, compile=forced, threads=context.threads) for dtype in dtypes])
    if "threads" in context.open:
        contest.enter([replace(contest.best, threads=count) for count in thread_counts(context.threads)[1:]])
    if "compile" in context.open and context.compile:
        eager = contest.best
        contest.enter([replace(eager, compile=True)])
        left_s = micro_steps * contest.ids.numel() / max(contest.best.speed, 1e-9)
        if left_s > BOTH_COMPILED_FROM_S:
            contest.enter([replace(eager, dtype=dtype, compile=True) for dtype in dtypes if dtype != eager.dtype])
    best = contest.best
    torch.set_num_threads(best.threads)
    model.compute_in(getattr(torch, best.dtype))
    return Probe(variants=tuple(contest.table.values()), best=best, seconds=time.perf_counter() - started)


def settled(context: RunContext, best: Variant) -> RunContext:
    """The context that trains as `best` did; nothing is open any more."""
    return replace(context, dtype=best.dtype, compile=best.compile, threads=best.threads, open=frozenset())


def same_setting(record: Mapping[str, Any], key: Mapping[str, Any]) -> Variant | None:
    """What an earlier probe chose, when it ran on this machine with this shape; None otherwise."""
    if record.get("key") != key:
        return None
    try:
        return Variant(**record["best"])
    except (KeyError, TypeError):
        return None


class _Contest:
    """The winner so far against newcomers, with random tokens.

    Attributes:
        table: the newest figure of every variant that took part, by its setting.
        best: the winner so far.
    """

    best: Variant

    def __init__(self, model: GPT, rows: int, row_len: int) -> None:
        self.model = model
        self.table: dict[tuple[str, bool, int], Variant] = {}
        ids = torch.randint(0, model.config.vocab_size, (2, rows, row_len), generator=torch.Generator().manual_seed(0))
        self.ids, self.targets = ids[0].to(model.device), ids[1].to(model.device)

    def enter(self, newcomers: Sequence[Variant]) -> None:
        """Time newcomers and the winner in turns, after each has warmed up; the fastest is the new winner."""
        if not newcomers:
            return
        variants = [*([self.best] if self.table else []), *newcomers]
        losses = [compiled_loss(self.model, use_compile=variant.compile) for variant in variants]
        seconds = [math.inf] * len(variants)
        for turn in range(1 + STEPS):
            for i, variant in enumerate(variants):
                took = self._step(variant, losses[i])
                if turn:
                    seconds[i] = min(seconds[i], took)
        timed = [replace(v, tokens_per_s=self.ids.numel() / took) for v, took in zip(variants, seconds, strict=True)]
        self.table |= {(v.dtype, v.compile, v.threads): v for v in timed}
        self.best = max(timed, key=lambda variant: variant.speed)

    def _step(self, variant: Variant, loss: Callable[[Tensor, Tensor], Tensor]) -> float:
        """Seconds of forward and backward; infinite when memory ends or the compiler fails."""
        torch.set_num_threads(variant.threads)
        dtype = getattr(torch, variant.dtype)
        if self.model.compute_dtype != dtype:
            self.model.compute_in(dtype)
        started = time.perf_counter()
        try:
            loss(self.ids, self.targets).backward()
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) and not (variant.compile and isinstance(error, TorchDynamoException)):
                raise
            return math.inf
        finally:
            self.model.zero_grad(set_to_none=True)
        return time.perf_counter() - started
