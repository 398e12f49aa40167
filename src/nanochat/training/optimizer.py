"""Muon for the matrices of the blocks and AdamW for everything else, in one object with a plain state.

The state is a flat mapping from names to tensors, so a checkpoint can hold it as safetensors. One process; sharding
over several is a later concern of this file alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from nanochat.model.gpt import GPT
from nanochat.training.muon import adamw_step, muon_step, second_moment_shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Parameters that share their dials. `kind` is "adamw" or "muon"."""

    name: str
    kind: str
    params: Mapping[str, nn.Parameter]
    lr: float
    betas: tuple[float, float] = (0.8, 0.95)
    eps: float = 1e-10
    weight_decay: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningRates:
    """Learning rates at width 768 and 2^19 tokens a step, before scaling; the defaults are the reference system's."""

    lm_head: float = 0.008
    wte: float = 0.3
    value_embeds: float = 0.15
    resid_lambdas: float = 0.005
    x0_lambdas: float = 0.5
    smear: float = 0.2
    matrices: float = 0.02

    def scaled(self, factor: float) -> LearningRates:
        """All of them multiplied by `factor`, as fine-tuning stages do."""
        return LearningRates(**{name: getattr(self, name) * factor for name in self.__dataclass_fields__})


@dataclass(kw_only=True, slots=True)
class Optimizer:
    """Takes one step for all groups; holds momenta by parameter name.

    Attributes:
        groups: what is trained and how.
        steps: optimizer steps taken, for AdamW's bias correction.
        muon_dtype: in which Muon orthogonalises.
    """

    groups: list[Group]
    steps: int = 0
    muon_dtype: torch.dtype = torch.float32
    _state: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def step(self, *, lr_multiplier: float, momentum: float, weight_decay: float | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            lr_multiplier: factor on every learning rate.
            momentum: Muon's.
            weight_decay: Muon's, in place of its group's own.
        """
        self.steps += 1
        for group in self.groups:
            if group.kind == "muon":
                decay = group.weight_decay if weight_decay is None else weight_decay
                self._muon(group, group.lr * lr_multiplier, momentum, decay)
            else:
                self._adamw(group, group.lr * lr_multiplier)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.groups:
            for param in group.params.values():
                param.grad = None

    def _adamw(self, group: Group, lr: float) -> None:
        for name, param in group.params.items():
            if param.grad is None:
                continue
            adamw_step(
                param,
                param.grad.float(),
                self._buffer(f"{name}.exp_avg", param.shape, param),
                self._buffer(f"{name}.exp_avg_sq", param.shape, param),
                step=self.steps,
                lr=lr,
                betas=group.betas,
                eps=group.eps,
                weight_decay=group.weight_decay,
            )

    def _muon(self, group: Group, lr: float, momentum: float, weight_decay: float) -> None:
        by_shape: dict[torch.Size, list[tuple[str, nn.Parameter]]] = defaultdict(list)
        for name, param in group.params.items():
            if param.grad is not None:
                by_shape[param.shape].append((name, param))
        for (m, n), members in by_shape.items():
            buffers = [self._buffer(f"{name}.momentum", (m, n), param) for name, param in members]
            seconds = [
                self._buffer(f"{name}.second_moment", second_moment_shape(m, n), param) for name, param in members
            ]
            momenta, second = torch.stack(buffers), torch.stack(seconds)
            updated = muon_step(
                torch.stack([param.detach() for _, param in members]),
                torch.stack([param.grad.float() for _, param in members if param.grad is not None]),
                momenta,
                second,
                lr=lr,
                momentum=momentum,
                weight_decay=weight_decay,
                dtype=self.muon_dtype,
            )
            for i, (_, param) in enumerate(members):
                param.copy_(updated[i])
                buffers[i].copy_(momenta[i])
                seconds[i].copy_(second[i])

    def _buffer(self, name: str, shape: Iterable[int], like: Tensor) -> Tensor:
        if name not in self._state:
            self._state[name] = torch.zeros(tuple(shape), dtype=torch.float32, device=like.device)
        return self._state[name]

    def state_dict(self) -> dict[str, Tensor]:
        """Momenta by name, and the step count as an int64 scalar."""
        return {**self._state, "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        tensors = dict(state)
        self.steps = int(tensors.pop("steps"))
        device = next(iter(self.groups[0].params.values())).device
        self._state = {name: tensor.to(device).clone() for name, tensor in tensors.items()}


def build_optimizer(
    model: GPT,
    rates: LearningRates,
    *,
    batch_scale: float = 1.0,
    weight_decay: float = 0.0,
    plain: bool = False,
) -> Optimizer:
    """The groups of era D for `model`.

    Args:
        model: whose parameters are trained.
        rates: learning rates at width 768 and a batch of 2^19 tokens; the first three AdamW ones are scaled by
            (C/768)^-1/2 here.
        batch_scale: sqrt(batch_tokens / 2^19), on everything but smear and backout.
        weight_decay: Muon's.
        plain: no AdamW weight decay either, as in fine-tuning.
    """
    width = (model.config.n_embd / 768) ** -0.5
    named = dict(model.named_parameters())

    def pick(*prefixes: str) -> dict[str, nn.Parameter]:
        return {name: param for name, param in named.items() if name.startswith(prefixes)}

    groups = [
        Group(
            name="lm_head",
            kind="adamw",
            params=pick("lm_head."),
            lr=rates.lm_head * width * batch_scale,
            betas=(0.8, 0.96),
            weight_decay=0.01,
        ),
        Group(
            name="wte",
            kind="adamw",
            params=pick("transformer.wte."),
            lr=rates.wte * width * batch_scale,
            betas=(0.8, 0.995),
            weight_decay=0.001,
        ),
        Group(
            name="value_embeds",
            kind="adamw",
            params=pick("value_embeds."),
            lr=rates.value_embeds * width * batch_scale,
            betas=(0.8, 0.995),
            weight_decay=0.01,
        ),
        Group(
            name="resid_lambdas",
            kind="adamw",
            params=pick("resid_lambdas"),
            lr=rates.resid_lambdas * batch_scale,
            weight_decay=0.05,
        ),
        Group(
            name="x0_lambdas",
            kind="adamw",
            params=pick("x0_lambdas"),
            lr=rates.x0_lambdas * batch_scale,
            betas=(0.96, 0.95),
        ),
        Group(name="smear", kind="adamw", params=pick("smear_", "backout_"), lr=rates.smear),
        Group(
            name="matrices",
            kind="muon",
            params=pick("transformer.h."),
            lr=rates.matrices * batch_scale,
            weight_decay=weight_decay,
        ),
    ]
    if plain:
        groups = [replace(group, weight_decay=0.0) if group.kind == "adamw" else group for group in groups]
    half = model.device.type == "cuda" or model.compute_dtype != torch.float32
    return Optimizer(
        groups=[group for group in groups if group.params], muon_dtype=torch.bfloat16 if half else torch.float32
    )
