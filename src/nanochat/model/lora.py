"""Low-rank adapters (LoRA, arXiv 2106.09685): fine-tuning that trains a thin pair of matrices beside each large one.

A matrix W of a block becomes W + (alpha / rank) B A, with A (rank, in) and B (out, rank). W and everything else of the
model is frozen, B begins at zero, so the model begins as it was. `add_adapters` wraps the matrices of a model in place,
`merged_state` gives the weights as those of an ordinary model, `adapter_state` and `load_adapters` what a run that goes
on needs besides: the adapters, and the matrices that they are added to, since no subtraction brings those back exactly.

Left out: the gates, too small to gain; embeddings and `lm_head`, whose adapters would be as wide as the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nanochat.errors import UsageError
from nanochat.model.gpt import GPT
from nanochat.model.linear import Linear

MATRICES = ("c_q", "c_k", "c_v", "c_proj", "c_fc")
KEPT = "lora."  # prefix of what is kept among the optimizer's state


class AdaptedLinear(Linear):
    """A frozen linear layer and a trained product of two thin ones.

    Args:
        layer: whose weight is taken over, not copied.
        rank: inner size.
        alpha: the product is multiplied by alpha / rank.
        generator: for A.
    """

    def __init__(self, layer: Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight = layer.weight
        self.register_parameter("bias", None)
        self.fp8 = layer.fp8
        self.scale = alpha / rank
        bound = 1 / math.sqrt(self.in_features)
        start = torch.rand(rank, self.in_features, generator=generator) * 2 * bound - bound
        self.lora_a = nn.Parameter(start.to(layer.weight.device))  # (rank, in)
        self.lora_b = nn.Parameter(layer.weight.new_zeros(self.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        thin = F.linear(x, self.lora_a.to(x.dtype))  # (..., rank)
        return super().forward(x) + self.scale * F.linear(thin, self.lora_b.to(x.dtype))

    @torch.no_grad()
    def merged(self) -> Tensor:
        """The one matrix that does the same: (out, in)."""
        return self.weight + self.scale * self.lora_b @ self.lora_a


def add_adapters(model: GPT, rank: int, *, alpha: float | None = None, seed: int = 0) -> int:
    """Freeze a model and give each matrix of its blocks an adapter.

    Args:
        model: with its weights; changed in place.
        rank: of the adapters.
        alpha: see `AdaptedLinear`; twice the rank by default.
        seed: of the adapters' start.

    Returns:
        How many numbers are trained.

    Raises:
        UsageError: a rank that is no less than the model is wide.
    """
    if not 1 <= rank < model.config.n_embd:
        raise UsageError(
            f"lora_rank ({rank}) must be below the width of the model ({model.config.n_embd})", "try --lora-rank 8"
        )
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for block in model.blocks:
        for part in (block.attn, block.mlp):
            for name in MATRICES:
                if isinstance(layer := getattr(part, name, None), Linear):
                    setattr(part, name, AdaptedLinear(layer, rank, alpha or 2.0 * rank, generator))
    return sum(param.numel() for param in model.parameters() if param.requires_grad)


def adapters_of(model: GPT) -> dict[str, AdaptedLinear]:
    """The adapted layers by name; none in an ordinary model."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, AdaptedLinear)}


def merged_state(model: GPT) -> dict[str, Tensor]:
    """The weights under the names of an ordinary model, each adapter merged into its matrix."""
    adapted = adapters_of(model)
    state = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
    return state | {f"{name}.weight": layer.merged() for name, layer in adapted.items()}


def adapter_state(model: GPT) -> dict[str, Tensor]:
    """What `load_adapters` takes; empty for an ordinary model."""
    return dict(_kept(model))


def load_adapters(model: GPT, state: Mapping[str, Tensor]) -> None:
    """Go on with adapters, in a model that has been given some of the same shape.

    Args:
        model: with adapters, and the merged weights or the frozen ones.
        state: from `adapter_state`; other names in it are passed over.
    """
    with torch.no_grad():
        for name, tensor in _kept(model):
            tensor.copy_(state[name])


def without_adapters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without what `adapter_state` has added."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(KEPT)}


def is_adapted(state: Mapping[str, Tensor]) -> bool:
    """Whether an optimizer's state holds what `adapter_state` adds."""
    return any(name.startswith(KEPT) for name in state)


def _kept(model: GPT) -> Iterator[tuple[str, Tensor]]:
    for name, layer in adapters_of(model).items():
        for part in ("weight", "lora_a", "lora_b"):
            yield f"{KEPT}{name}.{part}", getattr(layer, part).detach()
