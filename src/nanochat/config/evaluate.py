"""The dials of evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nanochat.config.fields import option
from nanochat.config.train import Device, Dtype
from nanochat.errors import UsageError

PLAIN = ("pocket", "chat", "files")
"""Files of scores of the test problems as they stand: not of another split, behind examples, or of samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatEvalConfig:
    """Accuracy on tasks."""

    tasks: str = option(
        "all",
        "tasks and files, separated by commas; all is the pocket tasks, chatcore those of ChatCORE",
        flag=("--tasks", "--task"),
    )
    split: Literal["test", "val"] = option("test", "val is for choosing a recipe, test for its score")
    max_problems: int = option(200, "problems of each task at most; 100K takes all", parse="count")
    num_samples: int = option(1, "answers to each problem; several are scored by pass@k")
    temperature: float | None = option(
        None, "randomness of answers; none is 0 (the likeliest token), with several answers 1"
    )
    shots: int = option(0, "ask in plain text behind so many examples, not as chat: for base models")
    batch_size: int = option(50, "answers at a time")
    max_new_tokens: int = option(
        0, "longest answer; auto is 64, and 512 where tasks ask for working or programs", unit="tokens", parse="auto"
    )
    task_data: str = option("", "folder with task data, looked at before the downloads", parse="path")
    unsafe_exec: bool = option(False, "run a model's programs also where the sandbox of this machine is weak")
    seed: int = option(42, "seed of sampled answers")
    device: Device = option("auto", "where to compute")
    dtype: Dtype = option("float32", "number format; float32 gives the same answers in any batch")
    threads: int = option(0, "CPU threads; 0 uses every core")

    def __post_init__(self) -> None:
        for name in ("max_problems", "batch_size", "num_samples"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must be at least 1", f"try --{name.replace('_', '-')} 50"
                )
        for name in ("max_new_tokens", "shots", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must not be negative", f"leave out --{name.replace('_', '-')}"
                )
        if self.temperature is not None and not 0 <= self.temperature < math.inf:
            raise UsageError(f"temperature ({self.temperature}) must be 0 or more", "try --temperature 1")
        if self.num_samples > 1 and self.temperature == 0:
            raise UsageError(
                f"{self.num_samples} answers at temperature 0 are the same answer", "leave out --temperature"
            )

    @property
    def sampling_temperature(self) -> float:
        """The temperature that answers are sampled with."""
        return self.temperature if self.temperature is not None else float(self.num_samples > 1)

    @property
    def variant(self) -> str:
        """What sets these scores apart from plain ones, for a file name: `-5shot-8x`; "" where nothing does."""
        parts = [f"{self.shots}shot"] if self.shots else []
        parts += [f"{self.num_samples}x"] if self.num_samples > 1 else []
        parts += [f"t{self.sampling_temperature:g}"] if self.sampling_temperature != (self.num_samples > 1) else []
        return "".join(f"-{part}" for part in parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerEvalConfig:
    """Bytes per token."""

    data: str | None = option(None, "data set to compare on; by default the one the tokenizer learnt from")
    max_chars: int = option(2_000_000, "characters of each split to read at most", parse="count")

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise UsageError(f"max_chars ({self.max_chars}) must be at least 1", "try --max-chars 2M")
