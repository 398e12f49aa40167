"""The dials of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanochat.config.fields import option
from nanochat.config.train import Device, Dtype
from nanochat.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatEvalConfig:
    """Accuracy on tasks."""

    tasks: str = option("all", "tasks and files of conversations, separated by commas")
    split: Literal["test", "val"] = option("test", "val is for choosing a recipe, test for its score")
    max_problems: int = option(200, "problems of each task at most")
    batch_size: int = option(50, "problems answered at a time")
    max_new_tokens: int = option(64, "longest answer", unit="tokens")
    device: Device = option("auto", "where to compute")
    dtype: Dtype = option("float32", "number format; float32 gives the same answers in any batch")
    threads: int = option(0, "CPU threads; 0 uses every core")

    def __post_init__(self) -> None:
        for name in ("max_problems", "batch_size", "max_new_tokens"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must be at least 1", f"try --{name.replace('_', '-')} 50"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerEvalConfig:
    """Bytes per token."""

    data: str | None = option(None, "data set to compare on; by default the one the tokenizer learnt from")
    max_chars: int = option(2_000_000, "characters of each split to read at most", parse="count")

    def __post_init__(self) -> None:
        if self.max_chars < 1:
            raise UsageError(f"max_chars ({self.max_chars}) must be at least 1", "try --max-chars 2M")
