"""Activation checkpointing: nothing but time and memory may change."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nanochat.config.model import ERAS, era_config
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights


def model_of(era: str, *, recompute: bool, dtype: torch.dtype = torch.float32) -> GPT:
    config = era_config(era, n_layer=4, n_head=2, n_kv_head=1, n_embd=32, sequence_len=512, vocab_size=70)
    model = init_weights(GPT(config), 0).compute_in(dtype)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for param in model.parameters():
            param.add_(0.1 * torch.randn(param.shape, generator=generator))
    model.recompute = recompute
    return model


def ids_of(rows: int, length: int) -> Tensor:
    return torch.randint(70, (rows, length + 1), generator=torch.Generator().manual_seed(1))


def step(model: GPT, wrap: Callable[[GPT], GPT] = lambda model: model) -> tuple[Tensor, dict[str, Tensor]]:
    ids = ids_of(2, 400)
    loss = wrap(model)(ids[:, :-1], ids[:, 1:])
    loss.backward()
    return loss.detach(), {name: param.grad for name, param in model.named_parameters() if param.grad is not None}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("era", ERAS)
def test_same_loss_and_gradients(era: str, dtype: torch.dtype) -> None:
    kept, again = (step(model_of(era, recompute=recompute, dtype=dtype)) for recompute in (False, True))
    assert torch.equal(kept[0], again[0])
    assert kept[1].keys() == again[1].keys()
    for name, grad in kept[1].items():
        # bit for bit but where a tensor is used by several blocks, whose gradients are added in another order
        torch.testing.assert_close(again[1][name], grad, rtol=1e-4 if dtype == torch.float32 else 2e-2, atol=1e-6)


def test_every_block_runs_twice_and_keeps_little() -> None:
    calls, kept = {}, {}
    for recompute in (False, True):
        model = model_of("D", recompute=recompute)
        count, saved = 0, 0

        def note(*_: object) -> None:
            nonlocal count
            count += 1

        def pack(x: Tensor) -> Tensor:
            nonlocal saved
            saved += x.numel()
            return x

        for block in model.blocks:
            block.mlp.register_forward_pre_hook(note)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            ids = ids_of(2, 400)
            loss = model.hidden(ids).sum()
        forward = count
        loss.backward()
        calls[recompute], kept[recompute] = (forward, count), saved
    assert calls == {False: (4, 4), True: (4, 8)}
    assert kept[True] < kept[False] / 3


def test_not_without_gradients_and_not_with_a_cache() -> None:
    model = model_of("D", recompute=True)
    plain = model_of("D", recompute=False)
    with torch.no_grad():
        assert torch.equal(model(ids_of(1, 30)), plain(ids_of(1, 30)))


def test_one_graph() -> None:
    torch._dynamo.reset()
    compiled = step(
        model_of("D", recompute=True),
        lambda model: torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False),
    )
    eager = step(model_of("D", recompute=False))
    torch.testing.assert_close(compiled[0], eager[0])
    for name, grad in eager[1].items():
        torch.testing.assert_close(compiled[1][name], grad, rtol=1e-3, atol=1e-5)
    torch._dynamo.reset()
