"""The dials of `nanochat eval base`."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.config.fields import option
from nanochat.config.train import Device, Dtype
from nanochat.errors import UsageError

PARTS = ("bpb", "core", "samples")


def parse_parts(text: str) -> str:
    """Reads a comma-separated list of parts.

    Raises:
        ValueError: one of them is none, or there is none.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in PARTS]
    if unknown or not names:
        raise ValueError(f"expected some of {', '.join(PARTS)}, found {(unknown or [text])[0]!r}")
    return ",".join(names)


@dataclass(frozen=True, kw_only=True, slots=True)
class BaseEvalConfig:
    """Bits per byte, CORE and samples.

    Raises:
        UsageError: a number that cannot be.
    """

    only: str = option(",".join(PARTS), "what to do, separated by commas", parse=parse_parts)
    data: str = option("", "data sets for bits per byte, as for training; empty are those the model was trained on")
    eval_tokens: int = option(2**19, "text for bits per byte, of each split", unit="tokens", parse="count")
    max_per_task: int = option(0, "items of each CORE task at most; 0 takes all", unit="items")
    bundle: str | None = option(None, "folder of the CORE bundle, instead of downloading it", parse="path")
    hf: str = option("", "a Hugging Face model, by ID or folder, instead of one of ours", flag="--hf")
    pass_tokens: int = option(0, "tokens read at a time; auto chooses by the device", unit="tokens", parse="auto")
    device: Device = option("auto", "where to compute")
    dtype: Dtype = option("auto", "number format; auto is float32 on a CPU, else what the GPU is fastest in")
    threads: int = option(0, "CPU threads; 0 uses every core")

    def __post_init__(self) -> None:
        if self.eval_tokens < 1:
            raise UsageError(f"eval_tokens ({self.eval_tokens}) must be at least 1", "try --eval-tokens 500K")
        for name in ("max_per_task", "pass_tokens"):
            if getattr(self, name) < 0:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{name} ({getattr(self, name)}) must not be negative", f"leave out {flag}")

    @property
    def parts(self) -> tuple[str, ...]:
        """What is to be done."""
        return tuple(self.only.split(","))
