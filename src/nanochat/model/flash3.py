"""FlashAttention 3 (arXiv 2407.08608) from the Hugging Face hub, for Hopper GPUs.

The `kernels` package fetches a build for the torch that is installed, at a pinned commit, so a run next month uses the
same code. A build is used only when it agrees with `attend` on a small problem, forward and backward.

The hub is asked at run time. Where these lines were written there was neither a hub nor such a GPU: tests drive them
with a stand-in for the `kernels` module, which checks how the kernel is called, not the kernel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nanochat.model.attention import attend

REPOSITORY = "kernels-community/flash-attn3"
REVISION = "7cb368cf8278b583132eb72cbf312d54586df2e2"
TOLERANCE = 0.05  # of values of order 1 in bfloat16, whose own step is 0.008


class Flash3Error(Exception):
    """The kernel cannot be used; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Flash3:
    """An `Attend`. `version` names where the kernel is from."""

    function: Callable[..., Any]
    version: str

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, window: int | None = None) -> Tensor:
        """As `attend`; numbers the kernel does not take (float32, say) are left to that."""
        if q.dtype not in (torch.bfloat16, torch.float16):
            return attend(q, k, v, window=window)
        # (-1, -1) is no window; of a pair the first counts positions before the query, without the query itself
        size = (-1, -1) if window is None or window >= q.size(1) - 1 else (window, 0)
        y = self.function(q, k, v, causal=True, window_size=size)
        return y[0] if isinstance(y, tuple) else y  # some builds give the log-sum-exp too


def load_flash3(device: str, dtype: torch.dtype, head_dim: int) -> Flash3:
    """Fetch the kernel, or find it in the hub's cache, and try it.

    Raises:
        Flash3Error: no such package, no network, no build for this torch, or wrong results.
    """
    try:
        from kernels import get_kernel
    except ImportError:
        raise Flash3Error("the kernels package is not installed (pip install 'nanochat[fa3]')") from None
    try:
        module = get_kernel(REPOSITORY, revision=REVISION)
    except Exception as error:  # a hub, a loader and a driver: any of them may fail in its own way
        raise Flash3Error(f"{REPOSITORY} cannot be loaded: {_one_line(error)}") from None
    flash3 = Flash3(module.flash_attn_func, f"{REPOSITORY}@{REVISION[:12]}")
    try:
        difference = disagreement(flash3, device, dtype, head_dim)
    except Exception as error:
        raise Flash3Error(f"{REPOSITORY} does not run here: {_one_line(error)}") from None
    if not difference <= TOLERANCE:
        raise Flash3Error(f"{REPOSITORY} is off by {difference:.2g} on a test problem")
    return flash3


def disagreement(flash3: Flash3, device: str, dtype: torch.dtype, head_dim: int) -> float:
    """The largest difference from `attend` with a window and without: of results, and of gradients to their largest."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(1, 160, heads, head_dim, generator=generator).to(device, dtype).requires_grad_()
        for heads in (4, 2, 2)
    )
    differences = []
    for window in (None, 64):
        right, tried = (product(q, k, v, window=window) for product in (attend, flash3))
        differences.append((right - tried).detach().abs().max())
        gradients = (torch.autograd.grad(y.float().square().mean(), (q, k, v)) for y in (right, tried))
        differences += [(a - b).abs().max() / a.abs().max() for a, b in zip(*gradients, strict=True)]
    return float(torch.stack(differences).float().max())  # NaN when any of them is


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:159] + "…"
