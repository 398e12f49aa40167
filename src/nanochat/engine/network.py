"""The network of `nanochat.model.gpt`, arranged for inference: same function, fewer and larger steps.

Weights are brought into the form of `matrices` once. Queries, keys, values and the gate of the value embedding are
one product; queries and keys are rotated and normed together, in the number format they are kept in; scales of the
residual stream are numbers. At batch 1 on a CPU each operation costs 2 us whatever its size, so there are few of them.

Left out: training, and reading without a cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nanochat.config.model import ModelConfig
from nanochat.engine.cache import cache_dtype
from nanochat.engine.matrices import Matrix, matrix
from nanochat.model.cross_entropy import capped
from nanochat.model.gpt import ROPE_LENGTH_FACTOR, SMEAR_CHANNELS, Cache, norm, rotary_tables


@dataclass(frozen=True, slots=True)
class _Block:
    """One layer. `residual` weighs the stream before it."""

    into: Matrix  # queries, keys, values and gates
    out: Matrix
    widen: Matrix  # and the ReLU behind it
    narrow: Matrix
    value_embed: Tensor | None  # (V, K * D)
    residual: float


class Network:
    """A trained model, ready to generate.

    Args:
        config: its shape.
        state: its weights by name, as in a checkpoint.
        device: where to compute.
        dtype: of activations, and of weights too unless they are int8.
        int8: keep matrices in eight bits.

    Raises:
        UsageError: int8 where there is no kernel for it.
    """

    def __init__(
        self,
        config: ModelConfig,
        state: Mapping[str, Tensor],
        device: torch.device,
        dtype: torch.dtype,
        *,
        int8: bool = False,
    ) -> None:
        self.config = config
        self.device = device
        self.compute_dtype = dtype

        def tensor(name: str) -> Tensor:
            return state[name].to(device=device, dtype=dtype)

        def form(*names: str, relu: bool = False) -> Matrix:
            width = state[names[0]].size(1)
            rows = [F.pad(state[name], (0, width - state[name].size(1))) for name in names]  # gates read few channels
            return matrix(torch.cat(rows), dtype, device, int8=int8, relu=relu)

        def numbers(name: str, otherwise: float) -> list[float]:
            return state[name].tolist() if name in state else [otherwise] * config.n_layer

        self._embedding = tensor("transformer.wte.weight")
        residual = numbers("resid_lambdas", 1.0)
        self._firsts = torch.tensor(numbers("x0_lambdas", 0.0), device=device, dtype=dtype)[:, None, None]  # (L, 1, 1)
        self._blocks = []
        for layer in range(config.n_layer):
            attention, mlp = f"transformer.h.{layer}.attn.", f"transformer.h.{layer}.mlp."
            valued = config.has_value_embed(layer)
            into = ["c_q", "c_k", "c_v", *(["ve_gate"] if valued else [])]
            self._blocks.append(
                _Block(
                    into=form(*(f"{attention}{name}.weight" for name in into)),
                    out=form(f"{attention}c_proj.weight"),
                    widen=form(f"{mlp}c_fc.weight", relu=True),
                    narrow=form(f"{mlp}c_proj.weight"),
                    value_embed=tensor(f"value_embeds.{layer}.weight") if valued else None,
                    residual=residual[layer],
                )
            )
        self._head = matrix(state["lm_head.weight"][: config.vocab_size], dtype, device, int8=int8)
        if config.smear:
            self._smear_gate = tensor("smear_gate.weight")
            self._smear = state["smear_lambda"].item()
        self._backout = state["backout_lambda"].item() if config.backout else 0.0
        cos, sin = rotary_tables(config.sequence_len * ROPE_LENGTH_FACTOR, config.head_dim, config.rope_base)
        self._kept = cache_dtype(device, dtype)
        self._cos = torch.cat((cos, cos), dim=1).to(device=device, dtype=self._kept)  # (T, D)
        self._sin = torch.cat((sin, -sin), dim=1).to(device=device, dtype=self._kept)

    def hidden(self, ids: Tensor, cache: Cache) -> Tensor:
        """(1, N) ids -> (1, N, C) normed last hidden states."""
        config = self.config
        at = cache.positions
        cos, sin = self._cos[at].unsqueeze(1), self._sin[at].unsqueeze(1)  # (N, 1, D)
        x = self._embed(ids, cache)  # (N, C)
        middle = x
        firsts = (x * self._firsts).unbind() if config.residual_lambdas else ()  # what each layer adds of the embedding
        for layer, block in enumerate(self._blocks):
            if config.residual_lambdas:
                x = torch.add(firsts[layer], x, alpha=block.residual)
            x = x + block.out(self._attention(layer, block, norm(x), ids[0], cos, sin, cache))
            x = x + block.narrow(block.widen(norm(x)).square())
            if layer == config.n_layer // 2:
                middle = x
        if config.backout:
            x = torch.sub(x, middle, alpha=self._backout)
        return norm(x)[None]

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, C) -> (N, V) float32, soft-capped."""
        return capped(self._head(hidden), self.config.softcap)

    def _embed(self, ids: Tensor, cache: Cache) -> Tensor:
        """(1, N) ids -> (N, C) normed, smeared embeddings."""
        if not self.config.smear:
            return norm(F.embedding(ids[0], self._embedding))
        both = norm(F.embedding(torch.cat((ids, cache.previous)), self._embedding))  # (2, N, C)
        gate = torch.sigmoid(F.linear(both[0, :, :SMEAR_CHANNELS], self._smear_gate))  # (N, 1)
        gate = gate * (cache.positions > 0).to(gate.dtype)[:, None]  # nothing stands before the first token
        return both[0] + self._smear * gate * both[1]

    def _attention(
        self, layer: int, block: _Block, x: Tensor, ids: Tensor, cos: Tensor, sin: Tensor, cache: Cache
    ) -> Tensor:
        """(N, C) normed input -> (N, C) before the output matrix."""
        config = self.config
        heads, kv_heads, dim = config.n_head, config.n_kv_head, config.head_dim
        made = block.into(x).to(self._kept)
        turned = (heads + kv_heads) * dim
        qk = made[:, :turned].view(-1, heads + kv_heads, dim)
        # halves (a, b) -> (a cos + b sin, b cos - a sin)
        qk = norm(torch.addcmul(qk * cos, qk.roll(dim // 2, -1), sin)) * config.qk_scale
        v = made[:, turned : turned + kv_heads * dim].view(-1, kv_heads, dim)
        if block.value_embed is not None:
            gate = torch.sigmoid(made[:, turned + kv_heads * dim :]).unsqueeze(-1)  # (N, K, 1)
            v = torch.addcmul(v, gate, F.embedding(ids, block.value_embed).view_as(v), value=config.ve_gate_scale)
        y = cache.attend(layer, qk[None, :, :heads], qk[None, :, heads:], v[None])
        return y.reshape(x.shape).to(x.dtype)
