"""Stand-ins for trained models: what they answer is known, and they cost nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nanochat.config.model import ModelConfig, era_config
from nanochat.tokenizer.special import ASSISTANT_END, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

BYTE_VOCAB = 256 + len(SPECIAL_TOKENS)


def tiny_tokenizer() -> Tokenizer:
    """The 256 bytes and the special tokens: ids of text are its UTF-8 bytes."""
    return Tokenizer({bytes([byte]): byte for byte in range(256)})


def tiny_config(**shape: Any) -> ModelConfig:
    """The smallest era-D shape that goes with `tiny_tokenizer`."""
    small = {
        "sequence_len": 256,
        "vocab_size": BYTE_VOCAB,
        "n_layer": 1,
        "n_head": 1,
        "n_kv_head": 1,
        "n_embd": 32,
    }
    return era_config("D", **{**small, **shape})


class UniformModel:
    """Every token is equally likely, always."""

    compute_dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, config: ModelConfig | None = None) -> None:
        self.config = config or tiny_config()

    def hidden(self, ids: Tensor, cache: Any = None, lengths: Tensor | None = None) -> Tensor:
        embeddings = self.embeddings(ids, cache)
        if cache is not None:
            cache.advance(embeddings, lengths)
        return embeddings

    def embeddings(self, ids: Tensor, cache: Any) -> Tensor:
        return torch.zeros(*ids.shape, 2)

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.zeros(*hidden.shape[:-1], self.config.vocab_size)


class ScriptedModel(UniformModel):
    """Says what it was told to, whatever it is asked, then ends its answer.

    Args:
        script: what to generate, ids; or a script for each row of a batch by its number.
        config: its smear must be on: the cache carries this model's place in the script where a real one's
            last embedding goes.
        then: the token after the script, by default assistant_end of `tiny_tokenizer`.
        scripts: further scripts for the following prompts (one after the other, the last one repeated).

    Attributes:
        prompts: the ids of every prefill, padding included.
    """

    def __init__(
        self,
        script: Sequence[int] | Mapping[int, Sequence[int]],
        config: ModelConfig | None = None,
        *,
        then: int | None = None,
        scripts: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__(config)
        self.then = tiny_tokenizer().special(ASSISTANT_END) if then is None else then
        self.waiting = [script, *scripts]
        self.current: Sequence[int] | Mapping[int, Sequence[int]] = script
        self.prompts: list[list[list[int]]] = []

    def embeddings(self, ids: Tensor, cache: Any) -> Tensor:
        """(B, T, 2): which row this is, and how much of its script has been said."""
        if cache is None or cache.smear is None:
            self.prompts.append(ids.tolist())
            self.current = self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]
            place = torch.zeros(*ids.shape, 2)
            place[..., 0] = torch.arange(ids.size(0))[:, None]
            return place
        return cache.smear + torch.tensor([0.0, 1.0])

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        for index, (row, said) in enumerate(hidden.int().tolist()):
            script = self.current[row] if isinstance(self.current, Mapping) else self.current
            logits[index, script[said] if said < len(script) else self.then] = 15.0
        return logits


def script_of(tokenizer: Tokenizer, *pieces: str) -> list[int]:
    """Ids of text in which pieces that name a special token stand for it."""
    ids: list[int] = []
    for piece in pieces:
        ids += [tokenizer.special(piece)] if piece in SPECIAL_TOKENS else tokenizer.encode(piece)
    return ids
