"""The shape of a model. Four states of the architecture ("eras") differ by these fields, not by classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from nanochat.errors import UsageError

ERAS = {
    "A": "October 2025",
    "B": "January 2026",
    "C": "9 March 2026",
    "D": "14 March 2026 on",
}
"""The states of the architecture, and when each came."""

MIN_VOCAB = 265  # 256 bytes and nine special tokens
MIN_WIDTH = 24  # channels that smear reads


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Everything that must be known to build the network and load its weights.

    The switches after `window_pattern` are what distinguishes the eras; `era_config` fills them in.

    Raises:
        UsageError: sizes that cannot work together.
    """

    sequence_len: int = 2048
    vocab_size: int = 32768
    n_layer: int = 12
    n_head: int = 6
    n_kv_head: int = 6
    n_embd: int = 768
    window_pattern: str = "SSSL"
    rope_base: float = 100_000.0
    qk_scale: float = 1.2
    short_window_rule: Literal["half", "third", "quarter"] = "quarter"
    residual_lambdas: bool = True
    value_embeds: bool = True
    ve_gate_channels: int = 12
    ve_gate_scale: float = 3.0
    smear: bool = True
    backout: bool = True
    vocab_multiple: int = 64
    softcap: float = 15.0

    def __post_init__(self) -> None:
        for name in (
            "sequence_len",
            "vocab_size",
            "n_layer",
            "n_head",
            "n_kv_head",
            "n_embd",
            "vocab_multiple",
            "ve_gate_channels",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} ({getattr(self, name)}) must be at least 1", f"raise {name}")
        if self.n_embd % self.n_head:
            best = max(1, round(self.n_embd / self.n_head)) * self.n_head
            raise UsageError(
                f"n_embd ({self.n_embd}) must be divisible by n_head ({self.n_head})",
                f"try n_embd {best}, or choose a --head-dim that divides n_embd",
            )
        if self.head_dim % 2:
            raise UsageError(
                f"head_dim ({self.head_dim}) must be even: rotary embeddings rotate pairs of channels",
                f"try n_head {max(1, self.n_head // 2)}",
            )
        if self.n_head % self.n_kv_head:
            raise UsageError(
                f"n_head ({self.n_head}) must be divisible by n_kv_head ({self.n_kv_head})",
                f"try n_kv_head {self.n_head}",
            )
        if set(self.window_pattern.upper()) - set("SL"):
            raise UsageError(
                f"window_pattern ({self.window_pattern!r}) must be made of S (short) and L (long)",
                "try SSSL",
            )

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.n_embd // self.n_head

    @property
    def padded_vocab(self) -> int:
        """Rows of wte and lm_head: `vocab_size` rounded up to `vocab_multiple`."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def short_window(self) -> int:
        """Tokens before itself that a query sees in an S layer.

        Half of the context (era B), a third (C) or a quarter (D) of it, the latter two rounded up to 128.
        """
        if self.short_window_rule == "half":
            return self.sequence_len // 2
        share = 3 if self.short_window_rule == "third" else 4
        return -(-self.sequence_len // (share * 128)) * 128

    def window_sizes(self) -> tuple[int | None, ...]:
        """Window of each layer in tokens before the query; the pattern is tiled, the last layer is always long.

        None is no window at all, as era A has it: there the pattern is empty.
        """
        if not self.window_pattern:
            return (None,) * self.n_layer
        sizes = {"S": self.short_window, "L": self.sequence_len}
        pattern = self.window_pattern.upper()
        tiled = [sizes[pattern[i % len(pattern)]] for i in range(self.n_layer)]
        return (*tiled[:-1], self.sequence_len)

    def has_value_embed(self, layer: int) -> bool:
        """Value embeddings sit in every second layer, the last one included."""
        return self.value_embeds and layer % 2 == (self.n_layer - 1) % 2

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`.

        Raises:
            UsageError: a key this version does not know, named.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(
                f"the model's config has unknown keys: {', '.join(sorted(unknown))}",
                "the checkpoint was made by a newer nanochat; upgrade this one",
            )
        return cls(**values)


_ERA_FIELDS: dict[str, dict[str, Any]] = {
    "A": {
        "window_pattern": "",
        "rope_base": 10_000.0,
        "qk_scale": 1.0,
        "residual_lambdas": False,
        "value_embeds": False,
        "smear": False,
        "backout": False,
        "vocab_multiple": 1,
    },
    "B": {
        "rope_base": 10_000.0,
        "qk_scale": 1.0,
        "short_window_rule": "half",
        "ve_gate_channels": 32,
        "ve_gate_scale": 2.0,
        "smear": False,
        "backout": False,
    },
    "C": {"qk_scale": 1.15, "short_window_rule": "third", "smear": False, "backout": False},
    "D": {},
}


def era_config(era: str, **fields: Any) -> ModelConfig:
    """A config of one era: A is plain attention, D the default, B and C are on the way.

    Args:
        era: one of `ERAS`.
        **fields: any fields of `ModelConfig`; they win over the era's.

    Raises:
        UsageError: an era that is not one of these.
    """
    if era not in _ERA_FIELDS:
        raise UsageError(f"era {era!r} is not known", f"choose one of {', '.join(ERAS)}")
    return ModelConfig(**{**_ERA_FIELDS[era], **fields})


def model_shape(depth: int, *, head_dim: int = 128, aspect_ratio: int = 64) -> dict[str, int]:
    """n_layer, n_embd, n_head and n_kv_head from the one dial.

    n_embd = depth * aspect_ratio, rounded up to a multiple of head_dim; n_head = n_embd / head_dim.

    Raises:
        UsageError: a depth or head size below 1.
    """
    if depth < 1 or head_dim < 2 or aspect_ratio < 1:
        raise UsageError(
            f"depth ({depth}), head_dim ({head_dim}) and aspect_ratio ({aspect_ratio}) must be positive",
            "try --depth 4 --head-dim 64",
        )
    n_embd = -(-depth * aspect_ratio // head_dim) * head_dim
    n_head = n_embd // head_dim
    return {"n_layer": depth, "n_embd": n_embd, "n_head": n_head, "n_kv_head": n_head}
