"""What a pretraining run will be, told before it begins, in less than a second and without torch."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.selector import candidates
from nanochat.checkpoints.store import CONFIG
from nanochat.config.model import ModelConfig
from nanochat.config.train import BaseTrainConfig
from nanochat.data.mixture import TextMixture
from nanochat.errors import MissingError
from nanochat.model.sizes import count_parameters, flops_per_token
from nanochat.runtime.paths import Paths
from nanochat.runtime.peaks import known_peak
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.horizon import base_horizon

STATE_BYTES = 3 * 4  # of a parameter in a checkpoint: the weight and at most two momenta, float32
USUAL_VOCAB = 32_768
SHARE_OF_PEAK = 0.4  # what well-fed GPUs reach; only to give an idea of the time
EXAMPLES = ("H100", "A100", "RTX 4090")


@dataclass(frozen=True, kw_only=True, slots=True)
class BasePlan:
    """A run in figures. `epochs` says how often each data set would be seen, None where that is not known yet;
    `missing` what has to be made first, with the command.
    """

    tag: str
    model: Mapping[str, object]
    parameters: Mapping[str, int]
    tokens: int
    steps: int
    batch_tokens: int
    device_batch_size: int
    micro_steps: int | None
    flops: float
    checkpoint_bytes: int
    checkpoints_kept: int
    free_disk_bytes: int
    epochs: Mapping[str, float | None]
    missing: Mapping[str, str]

    def lines(self) -> list[str]:
        """As a person reads it."""
        shape = self.model
        size = (
            f"{shape['n_layer']} layers of {shape['n_embd']} channels, {shape['n_head']} heads, "
            f"context {shape['sequence_len']:,}, vocabulary {shape['vocab_size']:,}"
        )
        groups = ", ".join(f"{name} {short_count(count)}" for name, count in self.parameters.items() if name != "total")
        rows = f"{self.device_batch_size} rows" if self.device_batch_size else "as many rows as fit"
        cut = f", {self.micro_steps} micro-steps of {rows}" if self.micro_steps else f", {rows} at a time"
        times = ", ".join(f"{_duration(self.flops / _rate(name))} on one {name}" for name in EXAMPLES)
        disk = self.checkpoint_bytes * (self.checkpoints_kept + 1)
        told = [
            ("model", f"{self.tag}: {short_count(self.parameters['total'])} parameters ({groups})"),
            ("", size),
            ("training", f"{short_count(self.tokens)} tokens in {self.steps:,} steps of {self.batch_tokens:,}{cut}"),
            ("cost", f"{self.flops:.3g} FLOPs: very roughly {times}"),
            ("disk", f"up to {disk / 1e9:.2g} GB of {self.free_disk_bytes / 1e9:.0f} GB free"),
            *(("data", _seen(name, epochs)) for name, epochs in self.epochs.items()),
            *(("missing", f"{what}: {command}") for what, command in self.missing.items()),
        ]
        return [f"{label:<9} {text}" for label, text in told]


def plan_base(config: BaseTrainConfig, paths: Paths) -> BasePlan:
    """The plan of `nanochat train base` with these dials.

    Data and tokenizer may still be missing: the plan says so, and takes a vocabulary of 32,768 meanwhile.

    Raises:
        UsageError: sizes that cannot work.
        MissingError: no model to go on with.
    """
    missing: dict[str, str] = {}
    tokenizer = None
    if config.source:
        step = candidates(paths, config.source)[0]
        vocab_size = ModelConfig.from_dict(read_json(step / CONFIG) or {}).vocab_size
    else:
        try:
            tokenizer = Tokenizer.load(paths.tokenizer(config.tokenizer))
        except MissingError as error:
            missing["tokenizer"] = error.hint
        vocab_size = tokenizer.vocab_size if tokenizer else USUAL_VOCAB
    model = config.model(vocab_size)
    horizon = base_horizon(config, model)
    counts = count_parameters(model)
    epochs: dict[str, float | None] = {}
    try:
        text = TextMixture.open(paths, config.data)
    except MissingError as error:
        missing["data"] = error.hint
    else:
        epochs = _epochs(text, tokenizer, horizon.tokens)
    rows = config.device_batch_size
    return BasePlan(
        tag=config.tag,
        model=model.to_dict(),
        parameters={"total": counts.total, **asdict(counts)},
        tokens=horizon.tokens,
        steps=horizon.steps,
        batch_tokens=horizon.batch_tokens,
        device_batch_size=rows,
        micro_steps=config.micro_steps(model.sequence_len, horizon.batch_tokens) if rows else None,
        flops=float(flops_per_token(model)) * horizon.tokens,
        checkpoint_bytes=counts.total * STATE_BYTES,
        checkpoints_kept=config.keep + 1,
        free_disk_bytes=shutil.disk_usage(_existing(paths.base)).free,
        epochs=epochs,
        missing=missing,
    )


def _epochs(text: TextMixture, tokenizer: Tokenizer | None, tokens: int) -> dict[str, float | None]:
    if tokenizer is None:
        return dict.fromkeys((dataset.name for dataset, _ in text.parts), None)
    from nanochat.data.amount import estimate_tokens  # pyarrow and numpy: for this alone

    return {
        dataset.name: tokens * weight / max(1, estimate_tokens(dataset, tokenizer)) for dataset, weight in text.parts
    }


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.exists())


def _rate(name: str) -> float:
    """FLOP/s that a run on this device may reach."""
    return (known_peak(name).flops or math.inf) * SHARE_OF_PEAK


def short_count(count: float) -> str:
    """Three digits and a letter, as options take it: 89.5K, 1.54M, 12B."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.3g}{letter}"
    return f"{count:.0f}"


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.3g} h"


def _seen(name: str, epochs: float | None) -> str:
    if epochs is None:
        return f"{name} is there"
    if epochs <= 1:
        return f"{epochs:.0%} of {name} will be seen" if epochs >= 0.01 else f"less than 1% of {name} will be seen"
    return f"{name} will be seen {epochs:.1f} times"
