"""Stand-ins for trained models: what they answer is known, and they cost nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from nanochat.config.model import ModelConfig, era_config
from nanochat.engine.network import Network
from nanochat.model.gpt import GPT
from nanochat.tokenizer.special import ASSISTANT_END, ASSISTANT_START, SPECIAL_TOKENS
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


def random_model(era: str, seed: int = 0, **shape: Any) -> GPT:
    """Weights whose every part matters; GQA, and windows of 128 that are shorter than the texts of these tests."""
    small = {
        "sequence_len": 256,
        "vocab_size": BYTE_VOCAB,
        "n_layer": 3,
        "n_head": 4,
        "n_kv_head": 2,
        "n_embd": 64,
    }
    if era != "A":
        small["window_pattern"] = "SL"
    model = GPT(era_config(era, **{**small, **shape}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 1.0 if parameter.dim() == 1 or "embed" in name or "wte" in name else 0.15
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model.eval()


def network_of(model: GPT, dtype: torch.dtype = torch.float32, *, int8: bool = False) -> Network:
    return Network(model.config, model.state_dict(), torch.device("cpu"), dtype, int8=int8)


class UniformModel:
    """Every token is equally likely, always."""

    compute_dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, config: ModelConfig | None = None) -> None:
        self.config = config or tiny_config()

    def hidden(self, ids: Tensor, cache: Any) -> Tensor:
        return torch.zeros(*ids.shape, 2)

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.zeros(*hidden.shape[:-1], self.config.vocab_size)


class ScriptedModel(UniformModel):
    """Says what it was told to, whatever it is asked, then ends its answer.

    It keeps the ids in the cache as its keys, and knows what to say from the text that it finds there alone.

    Args:
        script: what to generate, ids; or a script for each prompt by its number.
        config: of one layer.
        then: the token after the script, by default assistant_end of `tiny_tokenizer`.
        scripts: further scripts for the following prompts (one after the other, the last one repeated).

    Attributes:
        prompts: the texts it was asked to go on from.
        passes: how many tokens each pass read.
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
        tokenizer = tiny_tokenizer()
        self.then = tokenizer.special(ASSISTANT_END) if then is None else then
        self.opener = tokenizer.special(ASSISTANT_START)
        self.waiting = [script, *scripts]
        self.prompts: list[list[int]] = []
        self.passes: list[int] = []
        self._scripts: dict[tuple[int, ...], Sequence[int]] = {}
        self._texts: list[tuple[int, ...]] = []

    def hidden(self, ids: Tensor, cache: Any) -> Tensor:
        """(1, N, 2): the numbers of the texts that the tokens end."""
        self.passes.append(ids.size(1))
        shape = (1, ids.size(1), 1, self.config.head_dim)
        keys = ids[..., None, None].float().expand(shape)
        cache.attend(0, torch.zeros(shape), keys, keys)
        self._texts = []
        for piece in cache.pieces:
            start = cache.cache.lengths[piece.row]
            stored = cache.cache.keys[0][piece.row, : start + len(piece.ids), 0, 0].int().tolist()
            self._texts += [tuple(stored[: start + at + 1]) for at in range(len(piece.ids))]
        return torch.arange(len(self._texts))[None, :, None].expand(1, -1, 2).float()

    def logits(self, hidden: Tensor) -> Tensor:
        logits = super().logits(hidden)
        for index, number in enumerate(hidden[:, 0].int().tolist()):
            logits[index, self.say(*self._place(self._texts[number]))] = 15.0
        return logits

    def say(self, script: Sequence[int], place: int) -> int:
        return script[place] if place < len(script) else self.then

    def _place(self, text: tuple[int, ...]) -> tuple[Sequence[int], int]:
        """The script for a text, and how much of it has been said."""
        for prompt in sorted(self._scripts, key=len, reverse=True):
            said = text[len(prompt) :]
            if said and text[: len(prompt)] == prompt and self.opener not in said:
                return self._scripts[prompt], len(said)
        script = self.waiting.pop(0) if len(self.waiting) > 1 else self.waiting[0]
        self._scripts[text] = script[len(self.prompts)] if isinstance(script, Mapping) else script
        self.prompts.append(list(text))
        return self._scripts[text], 0


def script_of(tokenizer: Tokenizer, *pieces: str) -> list[int]:
    """Ids of text in which pieces that name a special token stand for it."""
    ids: list[int] = []
    for piece in pieces:
        ids += [tokenizer.special(piece)] if piece in SPECIAL_TOKENS else tokenizer.encode(piece)
    return ids
