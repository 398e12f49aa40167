"""Several processes that train together, for tests: each a fork of one that has loaded torch already.

A test gives the name of one of the works below, since a function of a test's own cannot be sent to another process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PRELOADED = ["pyarrow.parquet", "safetensors.torch", "nanochat.stages.rl", "nanochat.stages.pretrain"]
LIMIT_S = 120.0


def run_fleet(world_size: int, work: Callable[..., Any], *args: Any) -> list[Any]:
    """What `work(processes, *args)` returns in each process, by rank; an exception that it raises is returned too."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pipes, members = [], []
    for rank in range(world_size):
        ours, theirs = context.Pipe(duplex=False)
        member = context.Process(target=_member, args=(rank, world_size, port, theirs, work, args))
        member.start()
        theirs.close()
        pipes.append(ours)
        members.append(member)
    until = time.monotonic() + LIMIT_S
    try:
        results = []
        for pipe in pipes:
            assert pipe.poll(max(0.0, until - time.monotonic())), "the processes wait for each other for ever"
            results.append(pipe.recv())
        return results
    finally:
        for member, pipe in zip(members, pipes, strict=True):
            member.join(1.0)
            member.kill()
            member.join()
            pipe.close()


def _member(
    rank: int, world_size: int, port: int, pipe: Connection, work: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    import torch

    from nanochat.errors import NanochatError
    from nanochat.runtime.launch.worker import depart
    from nanochat.runtime.processes import join

    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    try:
        processes = join(os.environ, "cpu")
        try:
            pipe.send(work(processes, *args))
        except NanochatError as error:
            pipe.send(error)
        depart()
    except BaseException:
        pipe.send(traceback.format_exc())


def train(
    processes: Any, stage: str, base: Path, changes: dict[str, Any], stop: tuple[int, int] | None = None
) -> list[Any]:
    """The events of a stage of the toy; `stop` is the rank that gets SIGTERM, and the step that is under way then."""
    from toys import CONFIGS, STAGES, context_of

    from nanochat.training.loop import Loop

    if stop:
        step_of_loop = Loop._step

        def watched(self: Loop, batch: Any, state: Any) -> Any:
            if processes.rank == stop[0] and state.step + 1 == stop[1]:
                signal.raise_signal(signal.SIGTERM)
            return step_of_loop(self, batch, state)

        Loop._step = watched  # type: ignore[method-assign]
    events: list[Any] = []
    config = replace(CONFIGS[stage], **changes)
    STAGES[stage](config, context_of(base, processes), events.append)
    return events


def train_and_stop_in_validation(processes: Any, base: Path, rank: int) -> list[Any]:
    """The same for base, where a rank gets SIGTERM in the middle of its first validation, which the others finish."""
    from nanochat.stages import validate

    real = validate.tallies

    def watched(model: Any, batches: Any, token_bytes: Any) -> Any:
        for tally in real(model, batches, token_bytes):
            if processes.rank == rank:
                signal.raise_signal(signal.SIGTERM)
            yield tally

    validate.tallies = watched  # type: ignore[assignment]
    return train(processes, "base", base, {"device_batch_size": 1})


def train_and_stop_at_the_end(processes: Any, base: Path, rank: int) -> list[Any]:
    """The same for base, where a rank gets SIGTERM when the last validation is over."""
    from nanochat.stages.validate import Validation

    real, values = Validation.bits_per_byte, []

    def watched(self: Validation) -> float:
        values.append(real(self))
        if processes.rank == rank and len(values) == 2:
            signal.raise_signal(signal.SIGTERM)
        return values[-1]

    Validation.bits_per_byte = watched  # type: ignore[method-assign]
    return train(processes, "base", base, {})


def train_with_memory(processes: Any, base: Path, free: list[int]) -> list[Any]:
    """The same for base, where each rank finds so much memory free and chooses its rows by it."""
    from nanochat.stages import settle

    settle.free_bytes = lambda device: free[processes.rank] * processes.world_size  # type: ignore[assignment]
    return train(processes, "base", base, {"device_batch_size": 0})


def train_behind(processes: Any, stage: str, base: Path, stale: Path) -> list[Any]:
    """The same for a stage, where all but the first see the model they start from as it was a while ago."""
    from nanochat.stages import finetune

    if not processes.first:
        finetune.resolve = lambda *args: stale  # type: ignore[assignment]
    return train(processes, stage, base, {})


def score(processes: Any, base: Path, tasks: str, problems: int) -> list[Any]:
    """Scores of the model that `questions` are for."""
    from toys import context_of

    from nanochat.config.evaluate import ChatEvalConfig
    from nanochat.stages.evaluate import evaluate_chat

    config = ChatEvalConfig(tasks=tasks, max_problems=problems, batch_size=4, max_new_tokens=8, threads=1)
    return list(evaluate_chat("asked:mid", config, context_of(base, processes), lambda event: None).tasks)


def core_of_small_bundle(processes: Any, bundle: Path, stop: bool) -> Any:
    """CORE of a random model on a small bundle; with `stop` the last rank is asked to stop after one pass."""
    from doubles import random_model, tiny_tokenizer

    from nanochat.evaluation.core.bundle import open_bundle
    from nanochat.evaluation.core.evaluate import evaluate_core
    from nanochat.evaluation.core.tree import TreeScorer
    from nanochat.runtime.stop import CutShort

    asked = iter(range(1000))
    try:
        return evaluate_core(
            TreeScorer(random_model("D", seed=3), 500),
            tiny_tokenizer(),
            open_bundle(bundle).tasks,
            max_per_task=7,
            processes=processes,
            stopped=lambda: stop and not processes.first and next(asked) > 0,
        )
    except CutShort:
        return "cut short"


def measure_base(processes: Any, base: Path, config: Any) -> tuple[Any, float]:
    """CORE and the validation bits per byte of the toy's base stage."""
    from toys import context_of

    from nanochat.runtime.hub import Hub
    from nanochat.stages.evaluate_base import evaluate_base

    done = evaluate_base("toy:base", config, context_of(base, processes), Hub(offline=True), lambda event: None)
    return done.core, done.bpb["val"].total.bits_per_byte


def optimize(processes: Any, start: dict[str, Any], gradients: list[dict[str, Any]], state: Any = None) -> Any:
    """Steps of the optimizer on `start`, with gradients that the ranks contribute in equal parts; what comes of it."""
    import torch
    from torch import nn

    from nanochat.training.optimizer import Group, Optimizer

    params = {name: nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    kinds = {kind: {n: p for n, p in params.items() if n.startswith(kind)} for kind in ("adamw", "muon")}
    optimizer = Optimizer(
        [
            Group(name="adamw", kind="adamw", params=kinds["adamw"], lr=0.01, weight_decay=0.1),
            Group(name="muon", kind="muon", params=kinds["muon"], lr=0.02, weight_decay=0.1),
        ],
        processes=processes,
    )
    if state:
        optimizer.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    for gradient in gradients:
        for name, param in params.items():
            # powers of two, so that the sum over ranks is exact
            share = 2.0 ** -(processes.rank + 1) if processes.rank + 1 < processes.world_size else 2.0**-processes.rank
            param.grad = torch.tensor(gradient[name]) * share
        optimizer.step(lr_multiplier=1.0, momentum=0.9)
        optimizer.zero_grad()
    weights = {name: param.detach().tolist() for name, param in params.items()}
    moments = optimizer.state_dict()
    return weights, {name: tensor.tolist() for name, tensor in moments.items()} if processes.first else None
