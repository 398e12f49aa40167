"""The dials of low-rank adapters, for the stages that can train these instead of all weights."""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.config.checks import above_zero, at_least
from nanochat.config.fields import option


@dataclass(frozen=True, kw_only=True)
class AdapterDials:
    """Beside the dials of a stage: its config inherits both."""

    __slots__ = ()  # two bases cannot both have some: the stage's config makes these fields its own

    lora_rank: int = option(0, "train adapters of this rank instead of all weights (LoRA); 0 trains all")
    lora_alpha: float | None = option(
        None, "factor on what the adapters add, times the rank; by default twice the rank"
    )
    lora_lr: float = option(0.003, "learning rate of the adapters (Muon)")

    def check_adapters(self) -> None:
        """See that they are possible.

        Raises:
            UsageError: one is not.
        """
        at_least(self, "lora_rank", 0, "8")
        above_zero(self, "lora_alpha", "16")
        above_zero(self, "lora_lr", "0.003")
