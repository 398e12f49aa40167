"""The chunked loss against its slow twin: all logits at once, differentiated by torch, in float32."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from nanochat.model import cross_entropy
from nanochat.model.cross_entropy import linear_cross_entropy, row_losses
from nanochat.runtime.devices import cxx_compiler

ROWS, WIDTH, VOCAB = 210, 16, 300
CAP = 15.0
TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 6e-3, torch.float16: 1e-3}  # of a gradient, relative


def draw(dtype: torch.dtype, ignored: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(ROWS, WIDTH, generator=generator).to(dtype)
    weight = 0.5 * torch.randn(VOCAB, WIDTH, generator=generator)
    targets = torch.randint(VOCAB, (ROWS,), generator=generator)
    targets[torch.rand(ROWS, generator=generator) < ignored] = -1
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def twin(hidden: Tensor, weight: Tensor, targets: Tensor, softcap: float) -> Tensor:
    """From the same rounded factors, but nothing else is rounded."""
    logits = hidden.float() @ weight.to(hidden.dtype).float().t()
    capped = softcap * torch.tanh(logits / softcap)
    return F.cross_entropy(capped, targets, ignore_index=-1, reduction="none")


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return [part.float() for part in torch.autograd.grad(loss, of)]


def far(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm().clamp_min(1e-9))


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "many blocks":  # of 30 rows, the last of them not full, and two and a third to a product
        monkeypatch.setattr(cross_entropy, "BLOCK_BYTES", {"cpu": 30 * VOCAB * 2})
        monkeypatch.setattr(cross_entropy, "KEPT_BYTES", {"cpu": 70 * VOCAB * 2})
        monkeypatch.setattr(cross_entropy, "EAGER_BYTES", {"cpu": 7 * VOCAB * 4})
    return str(request.param)


@pytest.mark.parametrize("softcap", [15.0, 20.0])
@pytest.mark.parametrize("ignored", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_loss_and_gradients(dtype: torch.dtype, ignored: float, softcap: float, blocks: str) -> None:
    hidden, weight, targets = draw(dtype, ignored)
    loss = linear_cross_entropy(hidden, weight, targets, softcap)
    each = twin(hidden, weight, targets, softcap)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, each.sum(), rtol=2e-4, atol=1e-6)
    torch.testing.assert_close(row_losses(hidden, weight, targets, softcap), each, rtol=2e-2, atol=1e-2)
    found, wanted = gradients(loss * 0.5, hidden, weight), gradients(each.sum() * 0.5, hidden, weight)
    assert all(far(a, b) < TOLERANCE[dtype] for a, b in zip(found, wanted, strict=True))


def test_a_sure_model_is_still_corrected() -> None:
    """With p of the target near 1 its gradient 1 - p is small; rounded to bfloat16 before the subtraction, p would
    leave nothing of it but noise."""
    generator = torch.Generator().manual_seed(5)
    weight = (4.5 * F.normalize(torch.randn(VOCAB, 64, generator=generator))).requires_grad_()
    targets = torch.arange(ROWS)
    hidden = weight[targets].detach().bfloat16().requires_grad_()
    assert float(twin(hidden, weight, targets, CAP).detach().mean()) < 0.05
    found = gradients(linear_cross_entropy(hidden, weight, targets, CAP), hidden, weight)
    wanted = gradients(twin(hidden, weight, targets, CAP).sum(), hidden, weight)
    assert all(far(a, b) < 0.02 for a, b in zip(found, wanted, strict=True))


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor any operation makes, by dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[torch.dtype, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, Tensor):
                size = tensor.numel() * tensor.element_size()
                self.bytes[tensor.dtype] = max(size, self.bytes.get(tensor.dtype, 0))
        return out


def test_no_tensor_holds_the_logits_of_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_entropy, "BLOCK_BYTES", {"cpu": 30 * VOCAB * 2})
    monkeypatch.setattr(cross_entropy, "KEPT_BYTES", {"cpu": 60 * VOCAB * 2})
    monkeypatch.setattr(cross_entropy, "EAGER_BYTES", {"cpu": 7 * VOCAB * 4})
    hidden, weight, targets = draw(torch.bfloat16)
    with Largest() as largest:
        linear_cross_entropy(hidden, weight, targets, CAP).backward()
    assert largest.bytes[torch.bfloat16] <= 60 * VOCAB * 2
    assert largest.bytes[torch.float32] <= max(7 * VOCAB * 4, VOCAB * WIDTH * 4)
    with Largest() as largest:
        twin(hidden, weight, targets, CAP).sum().backward()
    assert largest.bytes[torch.float32] == ROWS * VOCAB * 4  # the measure does see them


@pytest.fixture
def graphs() -> Iterator[Any]:
    if cxx_compiler() is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    yield lambda: torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch.compiler.reset()


def test_compiled_it_is_the_same_for_any_number_of_rows(graphs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler sees one operation with no loop in it, and the pass over the logits is compiled once."""
    fresh = functools.cache(cross_entropy._compiled_absorb.__wrapped__)
    monkeypatch.setattr(cross_entropy, "_compiled_absorb", fresh)
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, dynamic=False)
    counted = []
    for ignored in (0.0, 0.3, 0.6, 0.9):
        hidden, weight, targets = draw(torch.bfloat16, ignored)
        loss, plain = (f(hidden, weight, targets, CAP) for f in (compiled, linear_cross_entropy))
        torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-5)
        found, wanted = gradients(loss, hidden, weight), gradients(plain, hidden, weight)
        assert all(far(a, b) < 1e-3 for a, b in zip(found, wanted, strict=True))
        counted.append(graphs())
    assert counted[0] == 2
    assert counted[1] == counted[-1]  # a third comes where torch tells tensors made while compiling from others
