"""Which attention kernel a training run uses, and why not a faster one.

Fastest first: FlashAttention 3 on Hopper, FlexAttention where torch.compile makes a CUDA kernel, and everywhere else
torch's scaled_dot_product_attention. All of them have windows that are no (T, T) mask, so the pattern of the model
stays what it was configured to be on every machine: the last one cuts a window into blocks, which on CPUs takes about
as long as no window (0.9 to 1.1 times, a compiled model of four layers at T = 2,048), where the mask took 1.3 to 1.4
times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from nanochat.config.model import ModelConfig
from nanochat.errors import UsageError
from nanochat.model.attention import Attend, attend
from nanochat.model.flash3 import Flash3, Flash3Error, load_flash3
from nanochat.model.flex import FlexWindows

HOPPER = 9  # major compute capability
FLEX_CAPABILITY = (8, 0)  # its Triton kernels want Ampere's asynchronous copies
HALVES = ("bfloat16", "float16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What the choice depends on, besides the model.

    `capability` is that of an NVIDIA GPU, None elsewhere (AMD GPUs, whose device is called cuda too, included).
    """

    device: str
    dtype: str
    compile: bool
    capability: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionChoice:
    """A kernel, where it is from, and for every faster one why it was passed over."""

    name: str
    version: str
    attend: Attend = field(repr=False, compare=False)
    passed_over: tuple[tuple[str, str], ...] = ()

    @property
    def line(self) -> str:
        """For a person: `attention: sdpa (torch 2.10.0); not fa3: ..., not flex: ...`."""
        reasons = ", ".join(f"not {name}: {reason}" for name, reason in self.passed_over)
        return f"attention: {self.name} ({self.version})" + (f"; {reasons}" if reasons else "")

    def record(self) -> dict[str, Any]:
        """For the record of a run."""
        return {"name": self.name, "version": self.version, "passed_over": dict(self.passed_over)}


def this_machine(device: str, dtype: str, *, compile: bool) -> Machine:
    """Look at the GPU, if the run is on one."""
    nvidia = device == "cuda" and torch.version.hip is None
    capability = torch.cuda.get_device_capability() if nvidia else None
    return Machine(device=device, dtype=dtype, compile=compile, capability=capability)


def choose_attention(
    machine: Machine,
    config: ModelConfig,
    *,
    require: str = "any",
    load: Callable[[str, torch.dtype, int], Flash3] = load_flash3,
) -> AttentionChoice:
    """The fastest kernel this machine and model can have.

    Args:
        machine: where the run computes.
        config: of the model.
        require: fa3, flex or sdpa: that one and no other; any.
        load: gets FlashAttention 3; called only when everything else about it is right.

    Raises:
        UsageError: the required kernel cannot be had.
    """
    passed_over: list[tuple[str, str]] = []
    for name in ("fa3", "flex", "sdpa") if require == "any" else (require,):
        reason = obstacle(name, machine, config)
        if not reason:
            try:
                version, product = _make(name, machine, config, load)
                return AttentionChoice(name=name, version=version, attend=product, passed_over=tuple(passed_over))
            except Flash3Error as error:
                reason = str(error)
        passed_over.append((name, reason))
    raise UsageError(
        f"attention by {require} was required, but {passed_over[-1][1]}",
        "leave out --require-attn to use what there is",
    )


def _make(
    name: str, machine: Machine, config: ModelConfig, load: Callable[[str, torch.dtype, int], Flash3]
) -> tuple[str, Attend]:
    if name == "fa3":
        flash3 = load(machine.device, getattr(torch, machine.dtype), config.head_dim)
        return flash3.version, flash3
    version = f"torch {torch.__version__}"
    if name == "flex":
        return version, FlexWindows(config.sequence_len, config.window_sizes(), machine.device)
    return version, attend


def obstacle(name: str, machine: Machine, config: ModelConfig) -> str:
    """Why a kernel is out of the question here; empty when it may work, as sdpa always does."""
    return {"fa3": _not_flash3, "flex": _not_flex}[name](machine, config) if name != "sdpa" else ""


def _not_flash3(machine: Machine, config: ModelConfig) -> str:
    if machine.capability is None or machine.capability[0] != HOPPER:
        return "it runs on NVIDIA Hopper GPUs only"
    if machine.dtype not in HALVES:
        return f"it computes in bfloat16 or float16, not {machine.dtype}"
    if config.head_dim % 8 or config.head_dim > 256:
        return f"its heads have at most 256 channels, a multiple of 8, not {config.head_dim}"
    return ""


def _not_flex(machine: Machine, config: ModelConfig) -> str:
    if machine.capability is None or machine.capability < FLEX_CAPABILITY:
        return "it is fast on NVIDIA GPUs from Ampere on only"
    if not machine.compile:
        return "it needs torch.compile"
    if config.head_dim < 16:
        return f"its heads have at least 16 channels, not {config.head_dim}"
    if all(window is None or window >= config.sequence_len - 1 for window in config.window_sizes()):
        return "the model has no windows, and plain causal attention is as fast"
    return ""
