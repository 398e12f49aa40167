"""What `evaluate_base` can measure: a model of ours, and a Hugging Face model, behind one interface."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import torch

from nanochat.checkpoints.selector import describe_place
from nanochat.checkpoints.store import Checkpoint
from nanochat.data.dataset import DataSet
from nanochat.data.loader import validation_rows
from nanochat.data.mixture import TextMixture
from nanochat.data.shards import read_group, row_groups
from nanochat.engine.engine import Engine
from nanochat.evaluation.bpb import SplitScore, Tally, row_tallies
from nanochat.evaluation.core.questions import Encoder
from nanochat.evaluation.core.scoring import PlainScorer, Scorer
from nanochat.evaluation.core.tree import GPU_PASS_TOKENS, PASS_TOKENS, TreeScorer
from nanochat.evaluation.huggingface import HuggingFaceModel
from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent, Sampled
from nanochat.runtime.processes import Processes
from nanochat.stages.samples import PROMPTS_BASE, SAMPLE_TOKENS, take_samples

PLAIN_TOKENS = {"cpu": 2048}  # all logits of a pass are made: at 50,000 tokens 0.4 GB of float32
GPU_PLAIN_TOKENS = 16_384

OnDone = Callable[[float], None]
"""Told what share is done."""


class Subject(Protocol):
    """A model that can be measured.

    Attributes:
        name: full selector, or the Hugging Face ID.
        stage: base, ..., or hf.
        step: of the checkpoint; 0 for a model that is not ours.
        folder: where its results are kept.
        scorer: answers questions.
        encoder: its tokenizer.
    """

    name: str
    stage: str
    step: int
    folder: Path
    scorer: Scorer
    encoder: Encoder

    def bits_per_byte(
        self, text: TextMixture, train: bool, tokens: int, processes: Processes, on_done: OnDone
    ) -> SplitScore:
        """Of the beginning of the training or the validation text, as much as `tokens` say."""
        ...

    def samples(self, on_event: OnEvent) -> Sequence[Sampled]:
        """What it says to the fixed prompts."""
        ...


class OwnModel:
    """A model of ours, in memory; see `Subject`.

    Args:
        model: ready to compute.
        checkpoint: it came from.
        tokens: of a pass; None chooses.
    """

    def __init__(self, model: GPT, checkpoint: Checkpoint, tokens: int | None) -> None:
        self._model = model
        self._tokenizer = checkpoint.tokenizer
        self._pass_tokens = tokens or PASS_TOKENS.get(model.device.type, GPU_PASS_TOKENS)
        stage_dir = checkpoint.path.parent
        self.name = describe_place(checkpoint.path)
        self.stage, self.step = stage_dir.name, checkpoint.step
        self.folder = stage_dir / "eval"
        self.scorer: Scorer = TreeScorer(model, tokens)
        self.encoder: Encoder = checkpoint.tokenizer

    def bits_per_byte(
        self, text: TextMixture, train: bool, tokens: int, processes: Processes, on_done: OnDone
    ) -> SplitScore:
        """See `Subject`; the parts are packed rows."""
        length = self._model.config.sequence_len
        rows = [
            row
            for dataset, weight in text.parts
            for row in validation_rows(_shard(dataset, train), self._tokenizer, length, max(1, round(tokens * weight)))
        ]
        lengths = self._tokenizer.token_bytes()
        numbers = [0.0] * (2 * len(rows))
        mine = range(processes.rank, len(rows), processes.world_size)
        at_a_time = max(1, self._pass_tokens // length)
        for start in range(0, len(mine), at_a_time):
            part = mine[start : start + at_a_time]
            ids = torch.cat([torch.as_tensor(rows[number]) for number in part])
            for number, tally in zip(part, row_tallies(self._model, ids[:, :-1], ids[:, 1:], lengths), strict=True):
                numbers[2 * number : 2 * number + 2] = tally.nats, float(tally.bytes)
            on_done((start + len(part)) / len(mine))
        return _split_score(numbers, processes)

    def samples(self, on_event: OnEvent) -> Sequence[Sampled]:
        """See `Subject`; they are kept beside those of the training."""
        said: list[Sampled] = []

        def listen(event: object) -> None:
            if isinstance(event, Sampled):
                said.append(event)
                on_event(event)

        take_samples(Engine(self._model, self._tokenizer), self.stage, self.step, self.folder.parent, listen)
        return said


class ForeignModel:
    """A Hugging Face model; see `Subject`.

    Args:
        model: loaded.
        name: as it was asked for.
        folder: where its results are kept.
        tokens: of a pass; None chooses.
    """

    stage = "hf"
    step = 0

    def __init__(self, model: HuggingFaceModel, name: str, folder: Path, tokens: int | None) -> None:
        self._model = model
        self.name = name
        self.folder = folder
        tokens = tokens or PLAIN_TOKENS.get(model.device.type, GPU_PLAIN_TOKENS)
        self.scorer: Scorer = PlainScorer(model.logits, model.device, longest=model.longest, tokens=tokens)
        self.encoder: Encoder = model

    def bits_per_byte(
        self, text: TextMixture, train: bool, tokens: int, processes: Processes, on_done: OnDone
    ) -> SplitScore:
        """See `Subject`; the parts are documents, read one by one, four bytes counted as a token."""
        documents: list[str] = []
        for dataset, weight in text.parts:
            documents += _documents(_shard(dataset, train), round(4 * tokens * weight))
        numbers = [0.0] * (2 * len(documents))
        mine = range(processes.rank, len(documents), processes.world_size)
        tallies = self._model.tallies(documents[number] for number in mine)
        for done, (number, tally) in enumerate(zip(mine, tallies, strict=True), 1):
            numbers[2 * number : 2 * number + 2] = tally.nats, float(tally.bytes)
            on_done(done / len(mine))
        return _split_score(numbers, processes)

    def samples(self, on_event: OnEvent) -> Sequence[Sampled]:
        """See `Subject`."""
        said = []
        for prompt in PROMPTS_BASE:
            answer = self._model.go_on(prompt, SAMPLE_TOKENS)
            said.append(Sampled(stage=self.stage, step=self.step, prompt=prompt, answer=answer))
            on_event(said[-1])
        return said


def foreign_model(name: str, context: RunContext, tokens: int | None) -> ForeignModel:
    """Load a Hugging Face model.

    Raises:
        MissingError, UsageError: as `HuggingFaceModel.load`.
    """
    model = HuggingFaceModel.load(name, context.device, getattr(torch, context.dtype))
    return ForeignModel(model, name, foreign_folder(context.paths.base, name), tokens)


def foreign_folder(base: Path, name: str) -> Path:
    """Where the results of a Hugging Face model are kept: by its ID, or by the name and place of its folder."""
    place = Path(name).expanduser()
    if place.is_dir():
        whole = place.resolve()
        return base / "evals" / f"{whole.name}-{sha256(str(whole).encode()).hexdigest()[:8]}"
    return base / "evals" / "--".join(word for word in name.split("/") if word not in ("", ".", ".."))


def _split_score(numbers: Sequence[float], processes: Processes) -> SplitScore:
    """From nats and bytes of each part, zeros for those that other processes have measured."""
    sums = processes.total(numbers)
    return SplitScore(parts=tuple(Tally(nats, int(size)) for nats, size in zip(sums[::2], sums[1::2], strict=True)))


def _shard(dataset: DataSet, train: bool) -> Path:
    return dataset.train[0] if train else dataset.validation


def _documents(shard: Path, size: int) -> Iterator[str]:
    """The documents from the beginning of a shard until they make up `size` bytes; the last one is whole."""
    texts = itertools.chain.from_iterable(read_group(shard, group) for group in range(row_groups(shard)))
    for text in texts:
        yield text
        size -= len(text.encode("utf-8", "replace"))
        if size <= 0:
            return
