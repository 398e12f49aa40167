"""Muon for the matrices of the blocks and AdamW for everything else, in one object with a plain state.

The state is a flat mapping from names to tensors, so a checkpoint can hold it as safetensors. Inside, what Muon
updates is kept stacked by shape: one compiled call for all matrices of a shape. One process; sharding over several is
a later concern of this file alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from nanochat.model.gpt import GPT
from nanochat.training.muon import muon_step, second_moment_shape


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


class Optimizer:
    """Takes one step for all groups; holds momenta by parameter name.

    Args:
        groups: what is trained and how.
        muon_dtype: in which Muon orthogonalises.
        compile: run Muon's step through torch.compile, once for each shape of matrix.

    Attributes:
        steps: steps taken, for AdamW's bias correction.
    """

    def __init__(
        self, groups: Sequence[Group], *, muon_dtype: torch.dtype = torch.float32, compile: bool = False
    ) -> None:
        self.groups = tuple(groups)
        self.steps = 0
        self._muon_dtype = muon_dtype
        self._muon_step = torch.compile(muon_step, dynamic=False) if compile else muon_step
        self._state: dict[str, Tensor] = {}  # those of Muon are views of the stacks
        self._stacks: dict[tuple[str, torch.Size], tuple[list[str], Tensor]] = {}

    @torch.no_grad()
    def step(self, *, lr_multiplier: float, momentum: float, weight_decay: float | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            lr_multiplier: factor on every learning rate.
            momentum: Muon's.
            weight_decay: Muon's, in place of its group's own.
        """
        for group in self.groups:
            members = {name: param for name, param in group.params.items() if param.grad is not None}
            if group.kind == "muon":
                decay = group.weight_decay if weight_decay is None else weight_decay
                self._muon(members, group.lr * lr_multiplier, momentum, decay)
            elif members:
                self._adamw(group, members, group.lr * lr_multiplier)
        self.steps += 1

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.groups:
            for param in group.params.values():
                param.grad = None

    def _adamw(self, group: Group, members: Mapping[str, nn.Parameter], lr: float) -> None:
        """AdamW (arXiv 1711.05101) in one pass over memory, which is all it costs."""
        device = next(iter(members.values())).device
        adamw(
            list(members.values()),
            [_gradient(param) for param in members.values()],
            [self._buffer(f"{name}.exp_avg", param.shape, device) for name, param in members.items()],
            [self._buffer(f"{name}.exp_avg_sq", param.shape, device) for name, param in members.items()],
            [],
            [torch.tensor(float(self.steps), device=device) for _ in members],
            fused=True,
            amsgrad=False,
            beta1=group.betas[0],
            beta2=group.betas[1],
            lr=lr,
            weight_decay=group.weight_decay,
            eps=group.eps,
            maximize=False,
        )

    def _muon(self, members: Mapping[str, nn.Parameter], lr: float, momentum: float, weight_decay: float) -> None:
        by_shape: dict[torch.Size, list[str]] = defaultdict(list)
        for name, param in members.items():
            by_shape[param.shape].append(name)
        for shape, names in by_shape.items():
            params: list[Tensor] = [members[name].detach() for name in names]
            device = params[0].device
            updated = self._muon_step(
                torch.stack(params),
                torch.stack([_gradient(members[name]) for name in names]),
                self._stack("momentum", shape, names, device),
                self._stack("second_moment", second_moment_shape(*shape), names, device),
                # numbers would be constants of the compiled code
                lr=torch.tensor(lr, device=device),
                momentum=torch.tensor(momentum, device=device),
                weight_decay=torch.tensor(weight_decay, device=device),
                dtype=self._muon_dtype,
            )
            torch._foreach_copy_(params, list(updated))

    def _stack(self, kind: str, shape: Sequence[int], names: list[str], device: torch.device) -> Tensor:
        """The buffers of these parameters as one tensor, made anew only when the names change."""
        key = (kind, torch.Size(shape))
        known, stack = self._stacks.get(key, ([], torch.empty(0)))
        if known != names:
            stack = torch.stack([self._buffer(f"{name}.{kind}", shape, device) for name in names])
            self._state.update({f"{name}.{kind}": part for name, part in zip(names, stack, strict=True)})
            self._stacks[key] = (names, stack)
        return stack

    def _buffer(self, name: str, shape: Sequence[int], device: torch.device) -> Tensor:
        if name not in self._state:
            self._state[name] = torch.zeros(tuple(shape), dtype=torch.float32, device=device)
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
        self._stacks = {}


def _gradient(param: nn.Parameter) -> Tensor:
    assert param.grad is not None
    return param.grad.float()


def build_optimizer(
    model: GPT,
    rates: LearningRates,
    *,
    batch_scale: float = 1.0,
    weight_decay: float = 0.0,
    plain: bool = False,
    compile: bool = False,
) -> Optimizer:
    """The groups of era D for `model`.

    Args:
        model: whose parameters are trained.
        rates: learning rates at width 768 and a batch of 2^19 tokens; the first three AdamW ones are scaled by
            (C/768)^-1/2 here.
        batch_scale: sqrt(batch_tokens / 2^19), on everything but smear and backout.
        weight_decay: Muon's.
        plain: no AdamW weight decay either, as in fine-tuning.
        compile: see `Optimizer`; left out on a CPU.
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
    # float16 is taken where there is no bfloat16, and has not its range
    half = model.compute_dtype == torch.bfloat16 or (
        model.device.type == "cuda" and model.compute_dtype == torch.float32
    )
    return Optimizer(
        [group for group in groups if group.params],
        muon_dtype=torch.bfloat16 if half else torch.float32,
        # on a CPU the compiled step is no faster, 34 ms against 35 at d4, and takes 20 s to compile
        compile=compile and model.device.type != "cpu",
    )
