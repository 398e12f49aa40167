"""The transformer: every era of it, chosen by the fields of `ModelConfig`.

Pre-norm decoder with rotary embeddings, QK-norm, squared-ReLU MLP and soft-capped logits; no biases, no learned
norms. Eras B and C add per-layer residual scales, value embeddings with a gate, and windows; era D adds smear (each
position sees a little of the previous embedding) and backout (the middle of the network is subtracted at its end).
Left out: training, sampling and the cache itself, which only has to look like `Cache`.

Letters: B batch, T time, S stored time, C n_embd, H heads, K key/value heads, D head_dim, V vocab.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nanochat.config.model import ModelConfig
from nanochat.model.attention import Attend, attend
from nanochat.model.cross_entropy import capped, linear_cross_entropy, row_losses
from nanochat.model.linear import Linear

ROPE_LENGTH_FACTOR = 10  # rotary tables cover ten contexts: long prompts in evaluation go beyond one
SMEAR_CHANNELS = 24

Reduction = Literal["mean", "sum", "none"]


class Cache(Protocol):
    """What one forward pass needs of a KV cache; `nanochat.engine.cache.Pass` is one.

    With a cache the ids of a pass are (1, N): the next tokens of one text, or of several, one after the other.
    """

    positions: Tensor  # (N,) int64, the place of each token in its text
    previous: Tensor  # (1, N) int64, the token before each; anything where there is none
    wanted: Tensor | None  # (M,) int64, the tokens whose last hidden states are wanted; None for all of them

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Store k and v (1, N, K, D) and let q (1, N, H, D) see what its text holds: (1, N, H, D).

        In the last layer q has M tokens, where they are fewer.
        """
        ...


def norm(x: Tensor) -> Tensor:
    """RMSNorm without weights over the last dimension."""
    return F.rms_norm(x, (x.size(-1),))


def rotary_tables(length: int, head_dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Cos and sin, each (length, D/2) float32 (RoFormer, arXiv 2104.09864)."""
    frequencies = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the halves of the last dimension.

    Args:
        x: (B, T, H, D).
        cos: (B or 1, T, 1, D/2), as sin.
    """
    x1, x2 = x.chunk(2, dim=-1)
    return torch.cat((x1 * cos + x2 * sin, x2 * cos - x1 * sin), dim=-1)


class Attention(nn.Module):
    """Causal self-attention with grouped key/value heads and, where the layer has one, a value embedding."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.config = config
        self.window = config.window_sizes()[layer]
        self.attend: Attend = attend
        width, kv_width = config.n_embd, config.n_kv_head * config.head_dim
        self.c_q = Linear(width, width)
        self.c_k = Linear(width, kv_width)
        self.c_v = Linear(width, kv_width)
        self.c_proj = Linear(width, width)
        if config.has_value_embed(layer):
            self.ve_gate = Linear(config.ve_gate_channels, config.n_kv_head)

    def forward(self, x: Tensor, value_embed: Tensor | None, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """(B, T, C) normed input -> (B, T, C), or (B, M, C) where only some tokens are wanted."""
        batch, time, _ = x.shape
        head_dim, kv_heads = self.config.head_dim, self.config.n_kv_head
        wanted = self.wanted(cache)
        asking = x if wanted is None else x[:, wanted]
        q = self.c_q(asking).view(batch, asking.size(1), -1, head_dim)  # (B, T, H, D)
        k = self.c_k(x).view(batch, time, kv_heads, head_dim)
        v = self.c_v(x).view(batch, time, kv_heads, head_dim)
        if value_embed is not None:
            gate = torch.sigmoid(self.ve_gate(x[..., : self.config.ve_gate_channels]))  # (B, T, K)
            gate = self.config.ve_gate_scale * gate
            v = v + gate.unsqueeze(-1) * value_embed.view(batch, time, kv_heads, head_dim)
        q = norm(rotate(q, cos, sin) if wanted is None else rotate(q, cos[:, wanted], sin[:, wanted]))
        q = q * self.config.qk_scale
        k = norm(rotate(k, cos, sin)) * self.config.qk_scale
        if cache is None:
            y = self.attend(q, k, v, window=self.window)
        else:
            y = cache.attend(self.layer, q, k, v)
        return self.c_proj(y.reshape(*asking.shape[:2], -1))

    def wanted(self, cache: Cache | None) -> Tensor | None:
        """Which tokens this layer must give an output for; None for all of them."""
        return cache.wanted if cache is not None and self.layer == self.config.n_layer - 1 else None


class MLP(nn.Module):
    """Squared-ReLU feed-forward of width 4C (Primer, arXiv 2109.08668)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        return self.c_proj(F.relu(self.c_fc(x)).square())


class Block(nn.Module):
    """Attention, then MLP, each on a normed input and added to the residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer)
        self.mlp = MLP(config)

    def forward(self, x: Tensor, value_embed: Tensor | None, cos: Tensor, sin: Tensor, cache: Cache | None) -> Tensor:
        """(B, T, C) -> (B, T, C), or (B, M, C) where only some tokens are wanted."""
        wanted = self.attn.wanted(cache)
        y = self.attn(norm(x), value_embed, cos, sin, cache)
        x = (x if wanted is None else x[:, wanted]) + y
        return x + self.mlp(norm(x))


class GPT(nn.Module):
    """A language model. Weights are left as torch makes them; `nanochat.model.init` sets starting values.

    Attributes:
        compute_dtype: what activations and matrix products are in; set it with `compute_in`.
        recompute: run each block again in the backward pass instead of keeping its activations: less memory, about a
            third more time, the same gradients (arXiv 1604.06174).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype = torch.float32
        self.recompute = False
        vocab, width = config.padded_vocab, config.n_embd
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(vocab, width),
                "h": nn.ModuleList(Block(config, layer) for layer in range(config.n_layer)),
            }
        )
        self.lm_head = Linear(width, vocab)
        if config.residual_lambdas:
            self.resid_lambdas = nn.Parameter(torch.ones(config.n_layer))
            self.x0_lambdas = nn.Parameter(torch.zeros(config.n_layer))
        if config.value_embeds:
            self.value_embeds = nn.ModuleDict(
                {
                    str(layer): nn.Embedding(vocab, config.n_kv_head * config.head_dim)
                    for layer in range(config.n_layer)
                    if config.has_value_embed(layer)
                }
            )
        if config.smear:
            self.smear_gate = Linear(SMEAR_CHANNELS, 1)
            self.smear_lambda = nn.Parameter(torch.zeros(1))
        if config.backout:
            self.backout_lambda = nn.Parameter(torch.zeros(1))
        self.rotary_length = config.sequence_len * ROPE_LENGTH_FACTOR
        self.set_rotary(self.rotary_length)

    def set_rotary(self, length: int) -> None:
        """Make rotary tables for `length` positions in the compute dtype."""
        cos, sin = rotary_tables(length, self.config.head_dim, self.config.rope_base)
        device = self.lm_head.weight.device
        self.register_buffer("cos", cos.to(device, self.compute_dtype), persistent=False)
        self.register_buffer("sin", sin.to(device, self.compute_dtype), persistent=False)

    def compute_in(self, dtype: torch.dtype) -> GPT:
        """Choose the compute dtype; parameters keep their own. Returns self."""
        self.compute_dtype = dtype
        self.set_rotary(self.rotary_length)
        return self

    def use_attention(self, product: Attend) -> GPT:
        """Choose the attention of the passes that have no cache. Returns self."""
        for block in self.blocks:
            block.attn.attend = product  # type: ignore[union-attr]
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.lm_head.weight.device

    @property
    def blocks(self) -> nn.ModuleList:
        """The layers."""
        return self.transformer["h"]  # type: ignore[return-value]

    def embed(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Token ids (B, T) -> normed, smeared embeddings (B, T, C).

        Smear lets position t see t-1; with a cache the token before the first one comes from there.
        """
        plain = norm(self.transformer["wte"](ids).to(self.compute_dtype))
        if not self.config.smear:
            return plain
        if cache is None:
            previous = F.pad(plain[:, :-1], (0, 0, 1, 0))  # zeros before the first token: nothing to smear
        else:
            before = norm(self.transformer["wte"](cache.previous).to(self.compute_dtype))
            previous = before * (cache.positions > 0).to(before.dtype)[:, None]
        gate = torch.sigmoid(self.smear_gate(plain[..., :SMEAR_CHANNELS]))  # (B, T, 1)
        return plain + self.smear_lambda.to(plain.dtype) * gate * previous

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> Tensor:
        """Token ids (B, T) -> normed last hidden states (B, T, C), or (B, M, C) where the cache wants only some.

        Args:
            ids: (B, T) int64.
            cache: continues from the tokens it holds and stores these; B is 1 then.
        """
        time = ids.size(1)
        if cache is None:
            cos, sin = self.cos[None, :time, None], self.sin[None, :time, None]
        else:
            cos, sin = self.cos[None, cache.positions, None], self.sin[None, cache.positions, None]
        x = self.embed(ids, cache)
        x0, middle = x, x
        for layer, block in enumerate(self.blocks):
            if self.config.residual_lambdas:
                x = self.resid_lambdas[layer].to(x.dtype) * x + self.x0_lambdas[layer].to(x.dtype) * x0
            value_embed = None
            if self.config.has_value_embed(layer):
                value_embed = self.value_embeds[str(layer)](ids).to(x.dtype)
            if self.recompute and cache is None and torch.is_grad_enabled():
                x = checkpoint(block, x, value_embed, cos, sin, None, use_reentrant=False)
            else:
                x = block(x, value_embed, cos, sin, cache)
            if layer == self.config.n_layer // 2:
                middle = x
        if self.config.backout:
            if middle.shape != x.shape:
                middle = middle[:, cache.wanted]  # type: ignore[union-attr]
            x = x - self.backout_lambda.to(x.dtype) * middle
        return norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., C) -> soft-capped logits (..., V) float32."""
        return capped(self.lm_head(hidden)[..., : self.config.vocab_size], self.config.softcap)

    def forward(
        self,
        ids: Tensor,
        targets: Tensor | None = None,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Logits, or the loss against `targets`.

        Args:
            ids: (B, T) int64.
            targets: (B, T) int64; -1 is ignored.
            reduction: "mean" over the targets that count, their "sum", or "none".

        Returns:
            (B, T, V) float32 logits without targets; else a scalar loss in nats, or (B, T) for "none".
        """
        hidden = self.hidden(ids)
        if targets is None:
            return self.logits(hidden)
        weight = self.lm_head.weight[: self.config.vocab_size]
        rows, wanted = hidden.flatten(0, 1), targets.flatten()
        if reduction == "none":
            return row_losses(rows, weight, wanted, self.config.softcap).view_as(targets)
        total = linear_cross_entropy(rows, weight, wanted, self.config.softcap)
        return total if reduction == "sum" else total / (wanted >= 0).sum()
