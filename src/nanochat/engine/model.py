"""What the engine needs of a model."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from nanochat.config.model import ModelConfig
from nanochat.model.gpt import Cache


class LanguageModel(Protocol):
    """`nanochat.engine.network.Network` is one, and so is `nanochat.model.gpt.GPT`, between two training steps."""

    @property
    def config(self) -> ModelConfig:
        """Its shape."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def compute_dtype(self) -> torch.dtype:
        """What it computes in."""
        ...

    def hidden(self, ids: Tensor, cache: Cache) -> Tensor:
        """(1, N) ids, and where they belong -> (1, N, C)."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """(N, C) -> (N, V) float32."""
        ...
