"""Prompts in, tokens out: prefill once, then one forward pass for each step of all rows together.

Tool results are forced in while decoding. Left out: text and conversations (`session`), and letting new rows
in while others are being decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from nanochat.config.chat import SamplingConfig
from nanochat.config.model import ModelConfig
from nanochat.engine.cache import KVCache
from nanochat.engine.sampling import make_generator, sample
from nanochat.engine.tools import ToolCall, ToolUse
from nanochat.errors import ContextError, UsageError
from nanochat.model.gpt import ROPE_LENGTH_FACTOR, Cache
from nanochat.tokenizer.special import ASSISTANT_END
from nanochat.tokenizer.tokenizer import Tokenizer

StopReason = Literal["stop", "length", "context"]
"""The model ended its answer; `max_new_tokens` were generated; the context is full."""


class LanguageModel(Protocol):
    """What the engine needs of a model; `nanochat.model.gpt.GPT` is one."""

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

    def hidden(self, ids: Tensor, cache: Cache | None = None, lengths: Tensor | None = None) -> Tensor:
        """(B, T) ids -> (B, T, C)."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., C) -> (..., V) float32."""
        ...


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """One token for every row that is still being generated.

    Attributes:
        rows: which samples or prompts the entries of the other fields belong to, ascending.
        tokens: the chosen ids; the token that ends an answer is among them.
        forced: whether each was forced in as part of a tool's result instead of sampled.
        logprobs: log-probability of each under the model at temperature 1; 0 where forced.
        calls: the tool call that each completed, or None.
        stop_reasons: why the row ends with this token, or None where it goes on.
    """

    rows: tuple[int, ...]
    tokens: tuple[int, ...]
    forced: tuple[bool, ...]
    logprobs: tuple[float, ...]
    calls: tuple[ToolCall | None, ...]
    stop_reasons: tuple[StopReason | None, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated for one prompt.

    Attributes:
        tokens: generated ids without the one that ended the answer.
        forced: which of them were forced in as results of tools.
        logprobs: as in `GenerationStep`.
        text: the tokens decoded, special ones and tool calls included.
        stop_reason: why it ended.
    """

    tokens: tuple[int, ...]
    forced: tuple[bool, ...]
    logprobs: tuple[float, ...]
    text: str
    stop_reason: StopReason


class Engine:
    """A model and its tokenizer, ready to generate. Holds no state between calls.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: the one it was trained with.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.stop_tokens = frozenset((tokenizer.special(ASSISTANT_END), tokenizer.bos))

    @property
    def context(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.model.config.sequence_len

    def generate(self, prompt: Sequence[int], config: SamplingConfig, num_samples: int = 1) -> Iterator[GenerationStep]:
        """Continue one prompt, step by step.

        Args:
            prompt: token ids, bos first; read once whatever the number of samples.
            config: how to sample and when to stop.
            num_samples: how many continuations.

        Raises:
            ContextError: no room for an answer behind the prompt.
            UsageError: an empty prompt, or no samples.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples ({num_samples}) must be at least 1", "ask for 1 sample")
        self._check(prompt)
        if len(prompt) >= self.context:
            raise ContextError(
                f"the prompt has {len(prompt)} tokens, the context of the model {self.context}",
                f"shorten it by {len(prompt) - self.context + 1} tokens or more",
            )
        cache, logits = self._prefill([prompt], config)
        if num_samples > 1:
            cache, logits = self._expand(cache, logits, num_samples)
        return self._decode(cache, logits, list(range(num_samples)), config)

    def generate_batch(self, prompts: Sequence[Sequence[int]], config: SamplingConfig) -> list[Completion]:
        """Continue many prompts together; all of them are in memory at once.

        A prompt that fills the context gets an empty completion with stop reason "context".

        Raises:
            UsageError: an empty prompt.
        """
        for prompt in prompts:
            self._check(prompt)
        rows = [row for row, prompt in enumerate(prompts) if len(prompt) < self.context]
        gathered = [_Gathered() for _ in prompts]
        if rows:
            cache, logits = self._prefill([prompts[row] for row in rows], config)
            for step in self._decode(cache, logits, rows, config):
                for entry in zip(step.rows, step.tokens, step.forced, step.logprobs, step.stop_reasons, strict=True):
                    gathered[entry[0]].add(*entry[1:])
        return [
            Completion(
                tuple(row.tokens),
                tuple(row.forced),
                tuple(row.logprobs),
                self.tokenizer.decode(row.tokens),
                row.stop_reason,
            )
            for row in gathered
        ]

    @torch.inference_mode()
    def next_logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Logits behind each prompt, whole prompts also beyond the context: (N, V) float32.

        Raises:
            UsageError: an empty prompt.
            ContextError: a prompt beyond ten contexts.
        """
        limit = self.context * ROPE_LENGTH_FACTOR
        for prompt in prompts:
            self._check(prompt)
            if len(prompt) > limit:
                raise ContextError(
                    f"the prompt has {len(prompt)} tokens, the model takes {limit} at most", "shorten it"
                )
        ids, lengths = self._padded(prompts)
        return self.model.logits(_last(self.model.hidden(ids), lengths))  # causal: padding behind is not seen

    def _check(self, prompt: Sequence[int]) -> None:
        if not prompt:
            raise UsageError("the prompt is empty", "start it with <|bos|>")
        if max(prompt) >= self.model.config.vocab_size:
            raise UsageError(
                f"the prompt has token id {max(prompt)}, the model knows 0 to {self.model.config.vocab_size - 1}",
                "the tokenizer is not the one the model was trained with",
            )

    def _padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """(N, T) ids, padded on the right with whatever, and (N,) lengths."""
        longest = max(map(len, prompts))
        ids = torch.tensor([[*prompt, *[0] * (longest - len(prompt))] for prompt in prompts])
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        return ids.to(self.model.device), lengths.to(self.model.device)

    @torch.inference_mode()
    def _prefill(self, prompts: Sequence[Sequence[int]], config: SamplingConfig) -> tuple[KVCache, Tensor]:
        """The cache of the prompts, and (N, V) logits behind them."""
        ids, lengths = self._padded(prompts)
        room = min(ids.size(1) + min(config.max_new_tokens, 128), self.context)
        model = self.model
        cache = KVCache(model.config, len(prompts), room, model.device, model.compute_dtype)
        even = len({len(prompt) for prompt in prompts}) == 1
        hidden = model.hidden(ids, cache, None if even else lengths)
        return cache, model.logits(_last(hidden, lengths))

    @torch.inference_mode()
    def _expand(self, cache: KVCache, logits: Tensor, n: int) -> tuple[KVCache, Tensor]:
        return cache.expand(n), logits.expand(n, -1)

    @torch.inference_mode()
    def _advance(self, cache: KVCache, tokens: list[int], keep: list[int]) -> Tensor:
        """Feed the rows that go on their next token; (len(keep), V) logits behind it."""
        if len(keep) < cache.batch:
            cache.select(keep)
        ids = torch.tensor([[tokens[index]] for index in keep], device=self.model.device)
        return self.model.logits(self.model.hidden(ids, cache)[:, -1])

    def _decode(
        self, cache: KVCache, logits: Tensor, rows: list[int], config: SamplingConfig
    ) -> Iterator[GenerationStep]:
        """Steps until every row has stopped. `rows` are the names of the cache's rows."""
        generator = make_generator(config, self.model.device)
        tools = [ToolUse(self.tokenizer) for _ in rows]
        generated = 0
        while True:
            ids, scores = sample(logits, config, generator)
            tokens, logprobs = ids.tolist(), scores.tolist()
            forced = [bool(tool.forced) for tool in tools]
            for index, tool in enumerate(tools):
                if tool.forced:
                    tokens[index], logprobs[index] = tool.forced.popleft(), 0.0
            calls = [tool.push(token) for tool, token in zip(tools, tokens, strict=True)]
            generated += 1
            reasons: list[StopReason | None] = [
                self._stop_reason(token, generated, count, config)
                for token, count in zip(tokens, cache.counts, strict=True)
            ]
            yield GenerationStep(
                tuple(rows), tuple(tokens), tuple(forced), tuple(logprobs), tuple(calls), tuple(reasons)
            )
            keep = [index for index, reason in enumerate(reasons) if reason is None]
            if not keep:
                return
            logits = self._advance(cache, tokens, keep)
            rows, tools = [rows[index] for index in keep], [tools[index] for index in keep]

    def _stop_reason(self, token: int, generated: int, count: int, config: SamplingConfig) -> StopReason | None:
        """Why a row ends with this token, its `generated`th, behind `count` tokens that were read."""
        if token in self.stop_tokens:
            return "stop"
        if generated >= config.max_new_tokens:
            return "length"
        return "context" if count + 1 >= self.context else None


class _Gathered:
    """The tokens of one row as they come in."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.forced: list[bool] = []
        self.logprobs: list[float] = []
        self.stop_reason: StopReason = "context"

    def add(self, token: int, forced: bool, logprob: float, reason: StopReason | None) -> None:
        """Take in one entry of a step."""
        if reason != "stop":
            self.tokens.append(token)
            self.forced.append(forced)
            self.logprobs.append(logprob)
        self.stop_reason = reason or self.stop_reason


def _last(hidden: Tensor, lengths: Tensor) -> Tensor:
    """(N, T, C) -> (N, C) at each row's last real position."""
    return hidden[torch.arange(hidden.size(0), device=hidden.device), lengths - 1]
