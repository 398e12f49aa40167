"""The stages before training: text on disk, and a tokenizer learnt from it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nanochat.checkpoints.layout import read_json
from nanochat.config.data import PocketDataConfig, TokenizerConfig
from nanochat.data.mixture import TextMixture
from nanochat.errors import NanochatError
from nanochat.importing.texts import find_texts, read_texts, size_of
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent, StageFinished, StageProgress, StageStarted
from nanochat.runtime.files import atomic_write_json, translate_os_errors
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import TextBatch, TrainProgress, learn

RECORD = "trained.json"


def make_pocket_data(config: PocketDataConfig, context: RunContext, on_event: OnEvent) -> list[Path]:
    """Write the pocket corpus; at once when it is there already."""
    from nanochat.data.pocket import write_pocket  # 20 ms that a tokenizer need not wait for

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


def make_tokenizer(
    config: TokenizerConfig, context: RunContext, on_event: OnEvent, source: Sequence[Path] = ()
) -> Tokenizer:
    """Train the tokenizer on the training shards; at once when the same was trained before.

    Args:
        config: the dials.
        context: where things live.
        on_event: told of the progress.
        source: folders and files to learn from in place of the data set.

    Raises:
        MissingError: no such data set.
        UsageError: the vocabulary is too small, or the text too short for it.
        DamagedError: a file cannot be read.
    """
    started = time.perf_counter()
    folder = context.paths.tokenizer(config.name)
    parts = [(tuple(find_texts(source)), 1.0)] if source else _mixed(TextMixture.open(context.paths, config.data))
    record = {
        "settings": _what_matters(config, source),
        "source": [[_name(path, source), _size(path)] for files, _ in parts for path in files],
    }
    if read_json(folder / RECORD) == record:
        try:
            tokenizer = Tokenizer.load(folder)
        except NanochatError:
            pass  # damaged: made again below
        else:
            on_event(StageFinished(stage="tokenizer", step=0, elapsed_s=0.0, skipped=True))
            return tokenizer
    on_event(StageStarted(stage="tokenizer", tag=config.name, total_steps=config.vocab_size))
    sizes = [size_of(files) for files, _ in parts]
    total = min(config.max_chars, *(int(size / weight) for size, (_, weight) in zip(sizes, parts, strict=True)))
    progress = _Progress(on_event, total)
    # one alone is read to its end: of compressed files the size is a guess
    batches = (_up_to(read_texts(files), total * weight if len(parts) > 1 else math.inf) for files, weight in parts)
    learned = learn(
        progress.watched(itertools.chain.from_iterable(batches)),
        config.vocab_size,
        max_chars=config.max_chars,
        doc_cap=config.doc_cap,
        num_threads=config.threads,
        on_progress=progress,
    )
    learned.tokenizer.save(folder)
    atomic_write_json(folder / RECORD, record)
    on_event(
        StageFinished(
            stage="tokenizer",
            step=0,
            elapsed_s=time.perf_counter() - started,
            summary={
                "vocab_size": learned.tokenizer.vocab_size,
                "documents": learned.documents,
                "bytes": learned.bytes,
                "unique_chunks": learned.unique_chunks,
                "counting_s": round(learned.counting_s, 3),
                "merging_s": round(learned.merging_s, 3),
            },
        )
    )
    return learned.tokenizer


def _mixed(text: TextMixture) -> list[tuple[tuple[Path, ...], float]]:
    return [(dataset.train, weight) for dataset, weight in text.parts]


def _up_to(batches: Iterable[TextBatch], size: float) -> Iterator[TextBatch]:
    """The first batches, until they hold `size` bytes of text."""
    taken = 0
    for batch in batches:
        yield batch
        taken += batch.texts.nbytes
        if taken >= size:
            return


def _what_matters(config: TokenizerConfig, source: Sequence[Path]) -> dict[str, Any]:
    """The settings that another tokenizer would come of."""
    settings = dataclasses.asdict(config)
    del settings["threads"]
    if source:
        del settings["data"]
    return settings


def _name(path: Path, source: Sequence[Path]) -> str:
    return str(path.absolute()) if source else path.name


def _size(path: Path) -> int:
    with translate_os_errors(path):
        return path.stat().st_size


class _Progress:
    """Tells how much of the text is counted, then how many merges are made; the display knows how fast."""

    def __init__(self, on_event: OnEvent, total_bytes: int) -> None:
        self._on_event = on_event
        self._total = total_bytes
        self._taken = 0

    def watched(self, batches: Iterable[TextBatch]) -> Iterator[TextBatch]:
        """The same batches. What a cap passes over is done with too, so their whole size counts."""
        for batch in batches:
            self._taken += batch.texts.nbytes
            yield batch

    def __call__(self, at: TrainProgress) -> None:
        if at.phase == "read":
            done, total, unit = min(self._taken, self._total), self._total, "bytes"
        else:
            done, total, unit = at.done, at.total, "merges"
        self._on_event(StageProgress(stage="tokenizer", done=done, total=total, unit=unit))
