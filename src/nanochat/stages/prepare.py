"""The stages before training: text on disk, and a tokenizer learnt from it."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from nanochat.checkpoints.layout import read_json
from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.data.pocket import write_pocket
from nanochat.data.shards import DataSet, read_group, row_groups
from nanochat.errors import NanochatError
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent, StageFinished, StageProgress, StageStarted
from nanochat.runtime.files import atomic_write_json
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import TrainProgress, train_tokenizer

RECORD = "trained.json"


def make_pocket_data(config: PocketDataConfig, context: RunContext, on_event: OnEvent) -> list[Path]:
    """Write the pocket corpus; at once when it is there already."""
    started = time.perf_counter()
    on_event(StageStarted(stage="data", tag=config.name, total_steps=0))

    def progress(done: float, total: float) -> None:
        on_event(StageProgress(stage="data", done=done, total=total, unit="bytes"))

    shards = write_pocket(
        context.paths.data(config.name),
        size_bytes=config.size,
        seed=config.seed,
        shard_bytes=config.shard_size,
        on_progress=progress,
    )
    on_event(
        StageFinished(
            stage="data",
            step=0,
            elapsed_s=time.perf_counter() - started,
            summary={"shards": len(shards), "bytes": config.size},
        )
    )
    return shards


def make_tokenizer(config: TokenizerConfig, context: RunContext, on_event: OnEvent) -> Tokenizer:
    """Train the tokenizer on the training shards; at once when the same was trained before.

    Raises:
        MissingError: no such data set.
        UsageError: the vocabulary is too small, or the text too short for it.
    """
    started = time.perf_counter()
    folder = context.paths.tokenizer(config.name)
    dataset = DataSet.open(context.paths.data(config.data))
    source = [[path.name, path.stat().st_size] for path in dataset.train]
    record = {"settings": dataclasses.asdict(config), "source": source}
    if read_json(folder / RECORD) == record:
        try:
            tokenizer = Tokenizer.load(folder)
        except NanochatError:
            pass  # damaged: made again below
        else:
            on_event(StageFinished(stage="tokenizer", step=0, elapsed_s=0.0, skipped=True))
            return tokenizer
    on_event(StageStarted(stage="tokenizer", tag=config.name, total_steps=config.vocab_size))

    def texts() -> Iterator[str]:
        return itertools.chain.from_iterable(
            read_group(path, group) for path in dataset.train for group in range(row_groups(path))
        )

    def progress(at: TrainProgress) -> None:
        unit = "characters" if at.phase == "read" else "merges"
        on_event(StageProgress(stage="tokenizer", done=at.done, total=at.total, unit=unit))

    tokenizer = train_tokenizer(
        texts(),
        config.vocab_size,
        max_chars=config.max_chars,
        doc_cap=config.doc_cap,
        on_progress=progress,
    )
    tokenizer.save(folder)
    atomic_write_json(folder / RECORD, record)
    on_event(
        StageFinished(
            stage="tokenizer",
            step=0,
            elapsed_s=time.perf_counter() - started,
            summary={"vocab_size": tokenizer.vocab_size},
        )
    )
    return tokenizer
