"""Muon for the matrices of the blocks and AdamW for everything else, in one object with a plain state.

The state is a flat mapping from names to tensors, so a checkpoint can hold it as safetensors. How one step is
taken, and shared out among processes, is in `updates`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nanochat.model.gpt import GPT
from nanochat.runtime.processes import ALONE, Processes
from nanochat.training.exchange import Exchange
from nanochat.training.muon import muon_step
from nanochat.training.updates import AdamW, Muon, Update


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
        processes: those that train together, each with gradients of its own rows. Each updates its share; see
            `updates`.

    Attributes:
        steps: steps taken, for AdamW's bias correction.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        *,
        muon_dtype: torch.dtype = torch.float32,
        compile: bool = False,
        processes: Processes = ALONE,
    ) -> None:
        self.groups = tuple(groups)
        self.steps = 0
        self._muon_dtype = muon_dtype
        self._muon_step = torch.compile(muon_step, dynamic=False) if compile else muon_step
        self._exchange = Exchange(processes)
        self._waiting: dict[str, Tensor] = {}  # momenta that no update has taken over yet
        self._members: list[str] | None = None
        self._updates: list[tuple[Group, Update]] = []

    @torch.no_grad()
    def step(self, *, lr_multiplier: float, momentum: float, weight_decay: float | None = None) -> None:
        """Update every parameter that has a gradient: the sum of those of all processes.

        Args:
            lr_multiplier: factor on every learning rate.
            momentum: Muon's.
            weight_decay: Muon's, in place of its group's own.

        Raises:
            ValueError: with several processes, other parameters have gradients than in the step before.
        """
        self._prepare()
        if self._exchange.world_size == 1:  # one after the other: nothing to overlap, less memory
            for group, update in self._updates:
                update.send()
                self._apply(group, update, lr_multiplier, momentum, weight_decay)
                update.receive()
        else:
            for _, update in self._updates:
                update.send()
            for group, update in self._updates:
                self._apply(group, update, lr_multiplier, momentum, weight_decay)
            for _, update in self._updates:
                update.receive()
        self.steps += 1

    def _apply(
        self, group: Group, update: Update, lr_multiplier: float, momentum: float, weight_decay: float | None
    ) -> None:
        decay = group.weight_decay if group.kind == "adamw" or weight_decay is None else weight_decay
        update.apply(lr=group.lr * lr_multiplier, momentum=momentum, weight_decay=decay)

    def _prepare(self) -> None:
        """Make the updates, in the first step and when other parameters have gradients than in the one before."""
        members = [name for group in self.groups for name, param in group.params.items() if param.grad is not None]
        if members == self._members:
            return
        if self._members is not None:
            if self._exchange.world_size > 1:
                raise ValueError("with several processes the same parameters must have gradients in every step")
            self._waiting |= self._moments()
        self._members, self._updates = members, []
        for group in self.groups:
            params = {name: param for name, param in group.params.items() if param.grad is not None}
            self._updates += [(group, update) for update in self._updates_of(group, params)]
        taken = set(members)
        self._waiting = {key: value for key, value in self._waiting.items() if key.rpartition(".")[0] not in taken}

    def _updates_of(self, group: Group, params: Mapping[str, nn.Parameter]) -> Iterator[Update]:
        if group.kind == "adamw":
            for name, param in params.items():
                yield AdamW(
                    name,
                    param,
                    betas=group.betas,
                    eps=group.eps,
                    exchange=self._exchange,
                    state=self._waiting,
                    steps=self.steps,
                )
            return
        by_shape: dict[torch.Size, dict[str, nn.Parameter]] = defaultdict(dict)
        for name, param in params.items():
            by_shape[param.shape][name] = param
        for same in by_shape.values():
            yield Muon(same, step=self._muon_step, dtype=self._muon_dtype, exchange=self._exchange, state=self._waiting)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.groups:
            for param in group.params.values():
                param.grad = None

    def _moments(self) -> dict[str, Tensor]:
        whole: dict[str, Tensor] = {}
        for _, update in self._updates:
            whole |= update.state()
        return whole

    def state_dict(self) -> dict[str, Tensor]:
        """Momenta by name, and the step count as an int64 scalar.

        All processes must call it; whole in the first, of no use in the others.
        """
        return {**self._waiting, **self._moments(), "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave, with any number of processes."""
        tensors = dict(state)
        self.steps = int(tensors.pop("steps"))
        self._waiting = {name: tensor.clone() for name, tensor in tensors.items()}
        self._members, self._updates = None, []


def build_optimizer(
    model: GPT,
    rates: LearningRates,
    *,
    batch_scale: float = 1.0,
    weight_decay: float = 0.0,
    plain: bool = False,
    compile: bool = False,
    processes: Processes = ALONE,
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
        processes: see `Optimizer`.
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
        processes=processes,
    )
