"""Output layer, softcap and cross-entropy in one, a block of rows at a time.

The logits of a step are its largest tensor by far: 4,096 tokens over a vocabulary of 32,768 are 0.5 GB in float32, and
plain autograd holds them three times. Here a block of them is made, turned into its own gradient in one pass,
multiplied into the gradients of both factors and forgotten, all in the forward pass; the backward pass
only scales. (Gradients in the forward pass are an idea of arXiv 2410.10989.)

One pass is enough because the softcap bounds the logits: with y = cap * tanh(z / cap) no maximum has to be found
first, so the sum of exp(y) and the gradient before its division by that sum, exp(y) * (1 - tanh^2), come out of one
loop; the division is left to the narrow factors of the products that follow.

Rows whose target does not count are left out altogether on a CPU: fine-tuning trains a third of its tokens.
Left out: weights of rows, and gradients of the gradient.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits made and passed over at a time: on a CPU what stays in a last cache of ordinary size.
BLOCK_BYTES = {"cpu": 16 << 20}
# Logits kept until their products are made: the weight's gradient is added up once for each of these, and adding
# reads and writes all of it.
KEPT_BYTES = {"cpu": 64 << 20}
GPU_BYTES = 1 << 30
EAGER_BYTES = {"cpu": 1 << 19}  # without a compiler each operation is a pass, over what then stays in a second cache


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float) -> Tensor:
    """The summed cross-entropy of the logits `softcap * tanh(hidden @ weight.T / softcap)`.

    Args:
        hidden: (N, C), in the dtype of the computation.
        weight: (V, C) float32.
        targets: (N,) int64; -1 does not count.
        softcap: bound of the logits.

    Returns:
        A float32 scalar in nats, differentiable once.
    """
    loss, _, _ = _linear_cross_entropy(hidden, weight, targets, softcap, torch.compiler.is_compiling())
    return loss


def row_losses(hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float) -> Tensor:
    """The cross-entropy of each row, (N,) float32, 0 where the target is -1; arguments as above."""
    factor = weight.to(hidden.dtype).t()
    size = _rows(hidden, weight, BLOCK_BYTES)
    blocks = zip(hidden.split(size), targets.split(size), strict=True)
    losses = [
        F.cross_entropy(capped(rows @ factor, softcap), wanted, ignore_index=-1, reduction="none")
        for rows, wanted in blocks
    ]
    return torch.cat(losses)


def capped(logits: Tensor, softcap: float) -> Tensor:
    """Soft-capped logits, of any shape, float32."""
    return softcap * torch.tanh(logits.float() / softcap)


@torch.library.custom_op("nanochat::linear_cross_entropy", mutates_args=())
def _linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float, compiled: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and its gradients by `hidden` (N, C) and by `weight` (V, C) float32.

    One opaque operation, so that a compiled model has no part in its loops and its rows may vary in number.
    """
    counts = targets >= 0
    # a GPU would have to be waited for to know how many rows count: there all are computed, and weigh nothing
    picked = None if hidden.is_cuda or bool(counts.all()) else counts.nonzero()[:, 0]
    if picked is not None:
        rows, targets, counts = hidden[picked], targets[picked], counts[picked]
    else:
        rows = hidden
    loss, by_rows, by_weight = _loss_and_gradients(
        rows, weight, targets.clamp_min(0), counts, softcap, compiled, most=len(hidden)
    )
    if picked is None:
        return loss, by_rows, by_weight
    return loss, torch.zeros_like(hidden).index_copy_(0, picked, by_rows), by_weight


def _loss_and_gradients(
    rows: Tensor, weight: Tensor, targets: Tensor, counts: Tensor, softcap: float, compiled: bool, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    factor = weight.to(rows.dtype)
    loss = torch.zeros((), device=rows.device)
    by_rows, by_weight = torch.empty_like(rows), torch.zeros_like(weight)
    block, kept = _rows(rows, weight, BLOCK_BYTES), _rows(rows, weight, KEPT_BYTES)
    # of one size at every step, however many rows count: pieces of many sizes break the heap up
    logits, gradient = (
        torch.empty(min(size, most), len(weight), dtype=rows.dtype, device=rows.device) for size in (block, kept)
    )
    at_row = torch.arange(len(gradient), device=rows.device)
    for at in range(0, len(rows), kept):
        part, target, weighs = (all[at : at + kept] for all in (rows, targets[:, None], counts[:, None]))
        chosen, shift, sums = (torch.zeros(len(part), 1, device=rows.device) for _ in range(3))
        for first in range(0, len(part), block):
            here = slice(first, min(first + block, len(part)))
            some = logits[: here.stop - first]
            torch.mm(part[here], factor.t(), out=some)
            chosen[here] = capped(some.gather(1, target[here]), softcap)
            if rows.dtype == torch.float16:  # exp(15) does not fit: a pass of its own finds the sum first
                shift[here] = capped(some, softcap).logsumexp(-1, keepdim=True)
            sums[here, 0] = _absorbed(some, gradient[here], shift[here, 0], softcap, compiled)
        loss += (weighs * (sums.log() + shift - chosen)).sum()
        slope = 1 - (chosen / softcap).square()
        by_chosen = ((chosen - shift).exp() - sums) * slope  # set apart: 1 - p rounded is worth more than p rounded
        known = gradient[: len(part)]
        known[at_row[: len(part)], target[:, 0]] = by_chosen[:, 0].to(known.dtype)
        share = weighs / sums
        by_rows[at : at + kept] = (known @ factor) * share
        by_weight += known.t() @ (part * share).to(part.dtype)
    return loss, by_rows, by_weight


def _absorbed(logits: Tensor, gradient: Tensor, shift: Tensor, softcap: float, compiled: bool) -> Tensor:
    """Write exp(y - shift) * (1 - tanh^2) of `logits` (R, V) to `gradient`; return the sums of exp(y - shift), (R,)."""
    if compiled:
        for tensor in (logits, gradient, shift):
            torch._dynamo.maybe_mark_dynamic(tensor, 0)
        sums: Tensor = _compiled_absorb()(logits, gradient, shift, softcap)
        return sums
    size = max(1, EAGER_BYTES.get(logits.device.type, GPU_BYTES) // (4 * logits.size(1)))
    parts = zip(logits.split(size), gradient.split(size), shift.split(size), strict=True)
    return torch.cat([_absorb(*some, softcap) for some in parts])


def _absorb(logits: Tensor, gradient: Tensor, shift: Tensor, softcap: float) -> Tensor:
    # tanh(z / cap) = 2 s - 1 and 1 - tanh^2 = 4 s (1 - s) with s = sigmoid(2 z / cap), which costs half of tanh.
    # `shift` has a value per row also where all are 0: so the compiler sees one loop for sum and gradient, not two.
    # Nor is the gradient written over the logits: on a CPU that loop takes 2.5 times as long.
    half = torch.sigmoid(logits.float() * (2 / softcap))
    exp = (2 * softcap * half - (shift + softcap)[:, None]).exp()
    gradient.copy_(exp * (4 * half * (1 - half)))
    return exp.sum(-1)


@cache
def _compiled_absorb() -> Any:
    return torch.compile(_absorb)


def _rows(rows: Tensor, weight: Tensor, sizes: dict[str, int]) -> int:
    """How many rows of logits are within the size for this device."""
    return max(1, sizes.get(rows.device.type, GPU_BYTES) // (rows.element_size() * len(weight)))


@_linear_cross_entropy.register_fake
def _(hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float, compiled: bool) -> tuple[Tensor, Tensor, Tensor]:
    return hidden.new_empty((), dtype=torch.float32), torch.empty_like(hidden), torch.empty_like(weight)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, by_hidden, by_weight = output
    ctx.mark_non_differentiable(by_hidden, by_weight)
    ctx.save_for_backward(by_hidden, by_weight)


def _scale(ctx: Any, by_loss: Tensor, *_: Any) -> tuple[Any, ...]:
    by_hidden, by_weight = ctx.saved_tensors
    return (by_hidden * by_loss).to(by_hidden.dtype), by_weight * by_loss, None, None, None


_linear_cross_entropy.register_autograd(_scale, setup_context=_keep)
