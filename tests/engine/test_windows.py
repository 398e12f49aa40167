"""Decoding with a cache, whose windows are masks, against a pass over the whole text, whose windows are blocks."""

from __future__ import annotations

import pytest
import torch

from nanochat.config.model import era_config
from nanochat.engine.cache import KVCache
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.model.windows import blocks_pay


@pytest.mark.parametrize("era", ["B", "C", "D"])
@torch.no_grad()
def test_cached_is_uncached(era: str) -> None:
    """A prefill of any length, then token by token and in pieces, gives the logits of one pass."""
    config = era_config(era, n_layer=4, n_head=4, n_kv_head=2, n_embd=64, sequence_len=512, vocab_size=90)
    model = init_weights(GPT(config), 0).eval()
    generator = torch.Generator().manual_seed(0)
    for param in model.parameters():
        param.add_(0.2 * torch.randn(param.shape, generator=generator))
    length, window = 600, config.short_window
    assert blocks_pay(length, window)
    ids = torch.randint(90, (2, length), generator=generator)
    whole = model.hidden(ids)
    cache = KVCache(config, 2, 8, model.device, torch.float32)
    pieces = [model.hidden(ids[:, start:end], cache) for start, end in ((0, 130), (130, 131), (131, 400), (400, 401))]
    pieces += [model.hidden(ids[:, at : at + 1], cache) for at in range(401, 410)]
    pieces.append(model.hidden(ids[:, 410:], cache))
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=1e-3, atol=1e-4)
