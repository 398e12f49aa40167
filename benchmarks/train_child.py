"""One way of taking training steps, in a process of its own: what `train.py` starts and asks.

    python benchmarks/train_child.py ORDER     ORDER is JSON, as `train.Child` makes it

Each line of stdin is a number of steps; each line of stdout says in JSON what they took.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from nanochat.model.gpt import GPT

WAYS = {"ours": "bfloat16", "plain float32": "float32", "plain bfloat16": "bfloat16"}
NUDGED = "nudged float32"  # plain float32 from other starting weights, of --loss alone
NUDGE = 2**-9 / math.sqrt(3)  # relative, standard deviation: as rounding the weights to bfloat16 once would change them
HELD_OUT_TOKENS = 65_536  # of validation text


def serve(order: dict[str, Any]) -> None:
    """Take as many steps as each line of stdin says, and answer with what they took."""
    import torch
    import torch.nn.functional as F

    from nanochat.config.model import era_config, model_shape
    from nanochat.model.gpt import GPT
    from nanochat.model.init import init_weights
    from nanochat.model.windows import window_mask
    from nanochat.runtime.devices import peak_memory_bytes, pick_threads
    from nanochat.training.loop import compiled_loss
    from nanochat.training.optimizer import LearningRates, build_optimizer
    from nanochat.training.schedule import lr_multiplier, muon_momentum

    torch.set_num_threads(pick_threads(order["threads"]))
    before = peak_memory_bytes()
    shape = model_shape(order["depth"], head_dim=order["head_dim"])
    config = era_config(
        "D",
        vocab_size=order["vocab_size"],
        sequence_len=order["sequence_len"],
        window_pattern=order["window_pattern"],
        **shape,
    )
    model = GPT(config)
    init_weights(model, seed=order["seed"])
    if order["way"] == NUDGED:
        dice = torch.Generator().manual_seed(order["seed"])
        with torch.no_grad():
            for param in model.parameters():
                param.mul_(1 + NUDGE * torch.randn(param.shape, generator=dice))
    model.compute_in(getattr(torch, WAYS.get(order["way"], "float32"))).train()
    rows, length = order["rows"], order["sequence_len"]
    optimizer = build_optimizer(model, LearningRates(), batch_scale=math.sqrt(rows * length / 2**19))

    def plain_linear(layer: Any, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, layer.weight.to(x.dtype))

    def plain_attention(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, window: int | None = None
    ) -> torch.Tensor:
        mask = None if window is None else window_mask(q.size(1), window, q.device)
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=q.size(1) != k.size(1)
        )
        return y.transpose(1, 2)

    def plain_loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        raw = model.lm_head(model.hidden(ids))[..., : config.vocab_size].float()
        logits = config.softcap * torch.tanh(raw / config.softcap)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")

    use_compile = order["compile"] == "on"
    if order["way"] == "ours":
        loss = compiled_loss(model, use_compile=use_compile)
    else:
        type(model.lm_head).forward = plain_linear
        model.use_attention(plain_attention)
        loss = torch.compile(plain_loss, dynamic=False) if use_compile else plain_loss

    total, warmdown = (order["loss"], order["warmdown"]) if order["loss"] else (sys.maxsize, 0.0)
    steps = enumerate(batches(order))
    for line in sys.stdin:
        losses, seconds, optimizer_s = [], 0.0, 0.0
        for _ in range(int(line)):
            done, (ids, targets) = next(steps)
            started = time.perf_counter()
            value = loss(ids, targets) / targets.numel()
            value.backward()
            between = time.perf_counter()
            optimizer.step(
                lr_multiplier=lr_multiplier(done, total, warmup=40, warmdown=warmdown, final=0.05),
                momentum=muon_momentum(done, total, warmdown=warmdown),
            )
            optimizer.zero_grad()
            seconds += time.perf_counter() - started
            optimizer_s += time.perf_counter() - between
            losses.append(float(value.detach()))
        answer = {
            "seconds": seconds,
            "optimizer_s": optimizer_s,
            "losses": losses,
            "held_out": held_out_loss(model, order) if order["texts"] else None,
            "peak_bytes": peak_memory_bytes() - before,
        }
        print(json.dumps(answer), flush=True)


def batches(order: dict[str, Any]) -> Iterator[tuple[Tensor, Tensor]]:
    """Ids and targets, each (rows, length), for ever: the seed's order of the text, or random ids."""
    import torch

    rows, length, vocab = order["rows"], order["sequence_len"], order["vocab_size"]
    dice = torch.Generator().manual_seed(order["seed"])
    if order["texts"]:
        ids, targets = text_rows(order, "train")
        for some in torch.randperm(len(ids), generator=dice).split(rows):
            yield ids[some], targets[some]
    while True:
        block = torch.randint(0, vocab, (rows, length + 1), generator=dice)
        yield block[:, :-1].contiguous(), block[:, 1:].contiguous()


def held_out_loss(model: GPT, order: dict[str, Any]) -> float:
    """Nats per token of validation text, computed in the number format that the model is trained in."""
    import torch

    ids, targets = text_rows(order, "held_out")
    count = min(len(ids), max(1, HELD_OUT_TOKENS // order["sequence_len"]))
    ids, targets = (rows[:: len(rows) // count][:count] for rows in (ids, targets))
    with torch.no_grad():
        parts = [
            model(*some, reduction="none").double().sum()
            for some in zip(ids.split(order["rows"]), targets.split(order["rows"]), strict=True)
        ]
    return float(sum(parts) / targets.numel())


def text_rows(order: dict[str, Any], name: str) -> tuple[Tensor, Tensor]:
    """Ids and targets, each (N, length), of all text of that name."""
    import numpy as np
    import torch

    stream = torch.from_numpy(np.load(Path(order["texts"]) / f"{name}.npy"))
    length = order["sequence_len"]
    count = (len(stream) - 1) // length
    ids, targets = (stream[at : at + count * length].view(count, length) for at in (0, 1))
    return ids, targets


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
