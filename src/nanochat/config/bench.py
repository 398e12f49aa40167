"""The dials of the benchmarks of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanochat.config.fields import option
from nanochat.config.model import ModelConfig, era_config, model_shape
from nanochat.config.train import Choice, Device, Dtype
from nanochat.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchTrainConfig:
    """A model and a micro-step; the defaults are those of the pocket model.

    Raises:
        UsageError: sizes that cannot work.
    """

    depth: int = option(4, "number of layers; sets every other size")
    head_dim: int = option(64, "channels per attention head")
    sequence_len: int = option(256, "context", unit="tokens", parse="count")
    vocab_size: int = option(4096, "tokens of the vocabulary", parse="count")
    window_pattern: str = option("L", "attention windows by layer, tiled: S short, L long")
    device_batch_size: int = option(8, "rows per step", unit="rows")
    steps: int = option(10, "steps to time, after one to warm up", unit="steps")
    device: Device = option("auto", "where to compute")
    dtype: Dtype = option("auto", "number format of the computation; auto measures")
    compile: Choice = option("auto", "torch.compile; auto when a compiler is there")
    threads: int = option(0, "CPU threads; 0 uses every core")

    def __post_init__(self) -> None:
        for name in ("device_batch_size", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must be at least 1", f"try --{name.replace('_', '-')} 4"
                )
        self.model()

    def model(self) -> ModelConfig:
        """The model these dials describe."""
        return era_config(
            "D",
            vocab_size=self.vocab_size,
            sequence_len=self.sequence_len,
            window_pattern=self.window_pattern,
            **model_shape(self.depth, head_dim=self.head_dim),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchInferConfig:
    """A model, its number format, and how many answers at a time.

    Raises:
        UsageError: sizes that cannot work.
    """

    depth: int = option(12, "number of layers; sets every other size")
    head_dim: int = option(128, "channels per attention head")
    vocab_size: int = option(32_768, "tokens of the vocabulary", parse="count")
    prompt_tokens: int = option(256, "length of the prompts", unit="tokens")
    new_tokens: int = option(32, "length of the answers", unit="tokens")
    batch_sizes: str = option("1,8", "answers at a time, separated by commas")
    device: Device = option("auto", "where to compute")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = option(
        "auto", "number format of the weights; auto measures"
    )
    threads: int = option(0, "CPU threads; 0 uses every core")

    def __post_init__(self) -> None:
        for name in ("prompt_tokens", "new_tokens"):
            if getattr(self, name) < 2:
                raise UsageError(
                    f"{name} ({getattr(self, name)}) must be at least 2", f"try --{name.replace('_', '-')} 32"
                )
        self.batches()
        self.model()

    def batches(self) -> tuple[int, ...]:
        """The batch sizes."""
        words = [word.strip() for word in self.batch_sizes.split(",") if word.strip()]
        if not words or not all(word.isdecimal() and 0 < int(word) <= 1024 for word in words):
            raise UsageError(
                f"batch_sizes ({self.batch_sizes!r}) must be whole numbers from 1 to 1024", "try --batch-sizes 1,8"
            )
        return tuple(int(word) for word in words)

    def model(self) -> ModelConfig:
        """The model these dials describe, with a context that holds prompt and answer."""
        return era_config(
            "D",
            vocab_size=self.vocab_size,
            sequence_len=max(2048, self.prompt_tokens + self.new_tokens + 1),
            **model_shape(self.depth, head_dim=self.head_dim),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchMatmulConfig:
    """Products of square matrices."""

    sizes: str = option("256,512,1024,2048", "rows and columns of the matrices, separated by commas")
    seconds: float = option(0.5, "time for each size", unit="seconds")
    device: Device = option("auto", "where to compute")
    threads: int = option(0, "CPU threads; 0 uses every core")

    def __post_init__(self) -> None:
        self.numbers()
        if not 0 <= self.seconds <= 3600:
            raise UsageError(f"seconds ({self.seconds}) must lie between 0 and 3600", "try --seconds 0.5")

    def numbers(self) -> tuple[int, ...]:
        """The sizes."""
        words = [word.strip() for word in self.sizes.split(",") if word.strip()]
        if not words or not all(word.isdecimal() and 0 < int(word) <= 65_536 for word in words):
            raise UsageError(f"sizes ({self.sizes!r}) must be whole numbers from 1 to 65536", "try --sizes 512,1024")
        return tuple(int(word) for word in words)
