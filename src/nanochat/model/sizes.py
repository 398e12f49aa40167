"""How large a model is and what a token costs, from its config alone: no torch, no weights."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.config.model import ModelConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCounts:
    """Parameters by group. `matrices` are those of the blocks, gates included."""

    wte: int
    value_embeds: int
    lm_head: int
    matrices: int
    scalars: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.wte + self.value_embeds + self.lm_head + self.matrices + self.scalars

    @property
    def scaling(self) -> int:
        """What the horizon of today's recipe is proportional to: block matrices and lm_head."""
        return self.matrices + self.lm_head


def count_parameters(config: ModelConfig) -> ParameterCounts:
    """Parameter counts of the network `GPT(config)`.

    With C = n_embd and K = n_kv_head * head_dim a block has 2C^2 + 2CK in attention, 8C^2 in the MLP, and a gate of
    `ve_gate_channels` * n_kv_head where the layer has a value embedding. Vocabularies count with their padding.
    """
    width, kv_width = config.n_embd, config.n_kv_head * config.head_dim
    value_layers = sum(config.has_value_embed(layer) for layer in range(config.n_layer))
    block = 2 * width * width + 2 * width * kv_width + 8 * width * width
    smear_gate = 24
    return ParameterCounts(
        wte=config.padded_vocab * width,
        value_embeds=value_layers * config.padded_vocab * kv_width,
        lm_head=config.padded_vocab * width,
        matrices=config.n_layer * block + value_layers * config.ve_gate_channels * config.n_kv_head,
        scalars=(2 * config.n_layer if config.residual_lambdas else 0)
        + (smear_gate + 1 if config.smear else 0)
        + (1 if config.backout else 0),
    )


def flops_per_token(config: ModelConfig) -> int:
    """Training FLOPs of one token: 6 per parameter of a Linear layer, and 12*H*D*span per layer of attention.

    Source: appendix B of PaLM (arXiv 2204.02311), with each layer's span limited to its window.
    """
    counts = count_parameters(config)
    linear = counts.matrices + counts.lm_head + (24 if config.smear else 0)
    spans = (
        config.sequence_len if window is None else min(window, config.sequence_len) for window in config.window_sizes()
    )
    return 6 * linear + sum(12 * config.n_head * config.head_dim * span for span in spans)
