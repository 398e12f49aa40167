"""One step for some parameters, in three parts, so that several can overlap: send gradients, update, take in the rest.

Both kinds update the share of this process alone and hold its momenta alone; see `exchange`. What is saved is whole
and the same for any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from nanochat.training.exchange import Coming, Exchange
from nanochat.training.muon import second_moment_shape

SMALL = 4096
"""Tensors of fewer numbers are updated by every process: sharing them out would cost more than it saves."""
ALIGNED = 64
"""Shares of a flat tensor are multiples of this: no vector instruction sees another tail than in one process."""


class Update(Protocol):
    """What the optimizer does with some parameters. In one step every method is called once, in this order."""

    def send(self) -> None:
        """Give gradients away to be summed."""
        ...

    def apply(self, *, lr: float, momentum: float, weight_decay: float) -> None:
        """Update this process's share and give it away."""
        ...

    def receive(self) -> None:
        """Take in the shares of the others."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Momenta by name; whole in the first process, empty in the others, all of which must call this."""
        ...


class AdamW:
    """AdamW (arXiv 1711.05101) of one tensor, in one pass over memory, which is all it costs.

    Args:
        name: of the parameter.
        param: any shape.
        betas, eps: as in the paper.
        exchange: the other processes.
        state: momenta to go on with, whole, by name.
        steps: steps taken before, for the bias correction.
    """

    def __init__(
        self,
        name: str,
        param: nn.Parameter,
        *,
        betas: tuple[float, float],
        eps: float,
        exchange: Exchange,
        state: Mapping[str, Tensor],
        steps: int,
    ) -> None:
        self._name = name
        self._param = param
        self._betas, self._eps = betas, eps
        self._exchange = exchange
        self._steps = steps
        count = param.numel()
        self._shared = exchange.world_size > 1 and count >= SMALL
        self._share = exchange.share(count, ALIGNED) if self._shared else count
        self._mine = exchange.mine(count, self._share) if self._shared else slice(0, count)
        self._moments = {kind: self._own(state.get(f"{name}.{kind}")) for kind in ("exp_avg", "exp_avg_sq")}
        self._coming: Coming | None = None

    def _own(self, whole: Tensor | None) -> Tensor:
        if whole is None:
            return torch.zeros(self._mine.stop - self._mine.start, device=self._param.device)
        return whole.reshape(-1)[self._mine].to(self._param.device, torch.float32, copy=True)

    def send(self) -> None:
        """See `Update`."""
        gradient = _gradient(self._param).reshape(-1)
        if self._shared:
            self._coming = self._exchange.scatter(self._exchange.padded(gradient, self._share))
        else:
            self._coming = self._exchange.sum(gradient)

    def apply(self, *, lr: float, momentum: float, weight_decay: float) -> None:
        """See `Update`; `momentum` is Muon's."""
        flat = self._param.detach().view(-1)
        own = flat[self._mine]
        adamw(
            [own],
            [_wait(self._coming)[: len(own)].float()],
            [self._moments["exp_avg"]],
            [self._moments["exp_avg_sq"]],
            [],
            [torch.tensor(float(self._steps), device=own.device)],
            fused=True,
            amsgrad=False,
            beta1=self._betas[0],
            beta2=self._betas[1],
            lr=lr,
            weight_decay=weight_decay,
            eps=self._eps,
            maximize=False,
        )
        self._steps += 1
        self._coming = None
        if self._shared:
            part = torch.zeros(self._share, dtype=own.dtype, device=own.device)
            part[: len(own)] = own
            even = self._share * self._exchange.world_size == len(flat)
            self._coming = self._exchange.gather(part, flat if even else None)

    def receive(self) -> None:
        """See `Update`."""
        if self._coming is not None:
            whole, flat = self._coming.wait(), self._param.detach().view(-1)
            if whole.data_ptr() != flat.data_ptr():
                flat.copy_(whole[: len(flat)])
            self._coming = None

    def state(self) -> dict[str, Tensor]:
        """See `Update`."""
        whole = {}
        for kind, own in self._moments.items():
            moment: Tensor | None = own
            if self._shared:
                part = own.new_zeros(self._share)
                part[: len(own)] = own
                moment = self._exchange.collect(part)
            if self._exchange.rank == 0 and moment is not None:
                whole[f"{self._name}.{kind}"] = moment[: self._param.numel()].view(self._param.shape)
        return whole


class Muon:
    """Muon of all matrices of one shape, stacked: one call for all of them. See `muon`.

    Args:
        params: (m, n) each, by name.
        step: `muon.muon_step` or its compiled form.
        dtype: in which it orthogonalises.
        exchange: the other processes; each updates some of the matrices.
        state: momenta to go on with, by name.
    """

    def __init__(
        self,
        params: Mapping[str, nn.Parameter],
        *,
        step: Callable[..., Tensor],
        dtype: torch.dtype,
        exchange: Exchange,
        state: Mapping[str, Tensor],
    ) -> None:
        self._names = list(params)
        self._params = [param.detach() for param in params.values()]
        self._sources = list(params.values())
        self._step = step
        self._dtype = dtype
        self._exchange = exchange
        self._share = exchange.share(len(params))
        self._mine = exchange.mine(len(params), self._share)
        shape = self._params[0].shape
        self._moments = {
            "momentum": self._own("momentum", shape, state),
            "second_moment": self._own("second_moment", second_moment_shape(*shape), state),
        }
        self._coming: Coming | None = None

    def _own(self, kind: str, shape: Sequence[int], state: Mapping[str, Tensor]) -> Tensor:
        own = torch.zeros(self._share, *shape, device=self._params[0].device)
        for i, name in enumerate(self._names[self._mine]):
            if (saved := state.get(f"{name}.{kind}")) is not None:
                own[i] = saved
        return own

    def send(self) -> None:
        """See `Update`."""
        gradients = torch.stack([_gradient(param).float() for param in self._sources])
        self._coming = self._exchange.scatter(self._exchange.padded(gradients, self._share))

    def apply(self, *, lr: float, momentum: float, weight_decay: float) -> None:
        """See `Update`."""
        gradients = _wait(self._coming)
        own = self._params[self._mine]
        device = gradients.device
        blank = [torch.zeros_like(self._params[0])] * (self._share - len(own))
        updated = self._step(
            torch.stack([*own, *blank]),
            gradients,
            self._moments["momentum"],
            self._moments["second_moment"],
            # numbers would be constants of the compiled code
            lr=torch.tensor(lr, device=device),
            momentum=torch.tensor(momentum, device=device),
            weight_decay=torch.tensor(weight_decay, device=device),
            dtype=self._dtype,
        )
        self._coming = self._exchange.gather(updated)

    def receive(self) -> None:
        """See `Update`."""
        whole = _wait(self._coming)
        torch._foreach_copy_(self._params, list(whole[: len(self._params)]))
        self._coming = None

    def state(self) -> dict[str, Tensor]:
        """See `Update`."""
        whole: dict[str, Tensor] = {}
        for kind, own in self._moments.items():
            if (moments := self._exchange.collect(own)) is not None:
                parts = moments[: len(self._names)]
                whole |= {f"{name}.{kind}": part for name, part in zip(self._names, parts, strict=True)}
        return whole


def _gradient(param: nn.Parameter) -> Tensor:
    assert param.grad is not None
    return param.grad


def _wait(coming: Coming | None) -> Tensor:
    assert coming is not None, "send comes before apply, and apply before receive"
    return coming.wait()
