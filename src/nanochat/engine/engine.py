"""Prompts in, tokens out.

Whoever waits for a token does the next step for everybody: answers asked for in several threads are generated
together, and no thread of the engine's own is needed. Left out: text (`stream`) and conversations (`session`).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from nanochat.config.chat import SamplingConfig
from nanochat.engine.cache import LONGEST_PIECE, KVCache, Piece, cache_dtype, row_bytes
from nanochat.engine.calculator import calculate
from nanochat.engine.model import LanguageModel
from nanochat.engine.row import Row
from nanochat.engine.scheduler import Scheduler
from nanochat.engine.steps import Completion, GenerationStep, Request, StopReason
from nanochat.engine.tools import Tool
from nanochat.errors import ContextError, UsageError
from nanochat.model.gpt import ROPE_LENGTH_FACTOR
from nanochat.runtime.memory import free_bytes
from nanochat.tokenizer.special import ASSISTANT_END
from nanochat.tokenizer.tokenizer import Tokenizer

MOST_ROWS = 64
FEWEST_ROWS = 4
PACK_TOKENS = 2048  # of prompts that are read together for their logits
MEMORY_SHARE = 4  # the cache may take this part of the free memory: the rest is for others


class Engine:
    """A model and its tokenizer, ready to generate.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: the one it was trained with.
        rows: answers that are generated at the same time, others wait; None is what a quarter of the free memory
            holds, 64 at most. Their keys and values are kept until the room is needed, for prompts that go on from
            there.
        tool: what the model may call.
        lookup: guess tokens from the text where the likeliest ones are taken; the ids are the same.
    """

    def __init__(
        self,
        model: LanguageModel,
        tokenizer: Tokenizer,
        *,
        rows: int | None = None,
        tool: Tool | None = calculate,
        lookup: bool = True,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.tool = tool
        self.lookup = lookup
        self.stop_tokens = frozenset((tokenizer.special(ASSISTANT_END), tokenizer.bos))
        self._rows = rows
        self._lock = threading.Lock()
        self._scheduler: Scheduler | None = None
        self._steps: dict[int, deque[GenerationStep]] = {}
        self._numbers = 0

    @property
    def context(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.model.config.sequence_len

    @property
    def active(self) -> int:
        """Answers that are being generated now."""
        return self._scheduler.active if self._scheduler else 0

    def cache_bytes(self) -> int:
        """Memory of the keys and values of one answer that fills the context."""
        return row_bytes(self.model.config, self.context, cache_dtype(self.model.device, self.model.compute_dtype))

    def generate(
        self,
        prompt: Sequence[int],
        config: SamplingConfig,
        num_samples: int = 1,
        *,
        prefix: Sequence[int] = (),
        stop: threading.Event | None = None,
        tool: Tool | None = None,
    ) -> Iterator[GenerationStep]:
        """Continue one prompt, token by token; to close the iterator ends it.

        Args:
            prompt: token ids, bos first; read once whatever the number of samples.
            config: how to sample and when to stop; with a seed, sample i has the seed plus i.
            num_samples: how many continuations, told apart by `GenerationStep.row`.
            prefix: tokens that each answer has to begin with.
            stop: set from any thread, it ends the iterator within one step, also while the prompt is being read.
            tool: what these may call; None is the engine's.

        Raises:
            ContextError: no room for an answer behind the prompt.
            UsageError: an empty prompt, an unknown token, or no samples.
        """
        if num_samples < 1:
            raise UsageError(f"num_samples ({num_samples}) must be at least 1", "ask for 1 sample")
        self._check([*prompt, *prefix])
        if len(prompt) + len(prefix) >= self.context:
            excess = len(prompt) + len(prefix) - self.context + 1
            raise ContextError(
                f"the prompt has {len(prompt) + len(prefix)} tokens, the context of the model {self.context}",
                f"shorten it by {excess} tokens or more",
            )
        requests = [
            Request(tuple(prompt), _sample_config(config, sample), tuple(prefix)) for sample in range(num_samples)
        ]
        return self._run(requests, stop, tool)

    def generate_many(self, prompts: Sequence[Sequence[int]], config: SamplingConfig) -> Iterator[GenerationStep]:
        """Continue many prompts, together as far as there are rows; `GenerationStep.row` is the number of the prompt.

        Nothing comes of a prompt that fills the context.

        Raises:
            UsageError: an empty prompt, or an unknown token.
        """
        for prompt in prompts:
            self._check(prompt)
        fitting = [number for number, prompt in enumerate(prompts) if len(prompt) < self.context]
        requests = [Request(tuple(prompts[number]), _sample_config(config, number)) for number in fitting]
        return (replace(step, row=fitting[step.row]) for step in self._run(requests))

    def generate_batch(self, prompts: Sequence[Sequence[int]], config: SamplingConfig) -> list[Completion]:
        """What `generate_many` gives, gathered.

        A prompt that fills the context gets an empty completion with stop reason "context".

        Raises:
            UsageError: an empty prompt, or an unknown token.
        """
        gathered = [_Gathered(config.stop) for _ in prompts]
        for step in self.generate_many(prompts, config):
            gathered[step.row].add(step)
        return [row.completion(self.tokenizer) for row in gathered]

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
        packs: list[list[Sequence[int]]] = []
        room = 0
        for prompt in prompts:
            if len(prompt) > room:
                packs.append([])
                room = PACK_TOKENS
            packs[-1].append(prompt)
            room -= len(prompt)
        return torch.cat([self._last_logits(pack) for pack in packs])

    def _last_logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """(N, V) logits behind prompts that are read in the same passes."""
        model = self.model
        cache = KVCache(model.config, len(prompts), max(map(len, prompts)), model.device, model.compute_dtype)
        last: dict[int, Tensor] = {}
        while len(last) < len(prompts):
            pieces = [
                Piece(row, prompt[start : start + LONGEST_PIECE], prompt[start - 1] if start else None)
                for row, (prompt, start) in enumerate(zip(prompts, cache.lengths, strict=True))
                if start < len(prompt)
            ]
            forward = cache.begin(pieces)
            hidden = model.hidden(forward.ids, forward)[0]
            forward.commit()
            for piece, end in zip(pieces, forward.ends, strict=True):
                if cache.lengths[piece.row] == len(prompts[piece.row]):
                    last[piece.row] = hidden[end - 1]
        return model.logits(torch.stack([last[row] for row in range(len(prompts))]))

    def renew(self, model: LanguageModel) -> None:
        """Go on with other weights; nothing that was read with the old ones is kept.

        Raises:
            RuntimeError: answers are being generated.
        """
        with self._lock:
            if self._scheduler and self._scheduler.busy:
                raise RuntimeError("other weights while answers are being generated")
            self._scheduler = None
            self.model = model

    def forget(self) -> None:
        """Drop the keys and values of everything that is not being generated."""
        with self._lock:
            if self._scheduler and not self._scheduler.busy:
                self._scheduler = None
            elif self._scheduler:
                self._scheduler.slots.forget()

    def _check(self, prompt: Sequence[int]) -> None:
        if not prompt:
            raise UsageError("the prompt is empty", "start it with <|bos|>")
        if max(prompt) >= self.model.config.vocab_size or min(prompt) < 0:
            wrong = next(token for token in prompt if not 0 <= token < self.model.config.vocab_size)
            raise UsageError(
                f"the prompt has token id {wrong}, the model knows 0 to {self.model.config.vocab_size - 1}",
                "the tokenizer is not the one the model was trained with",
            )

    def _run(
        self, requests: Sequence[Request], stop: threading.Event | None = None, tool: Tool | None = None
    ) -> Iterator[GenerationStep]:
        """The steps of some requests, numbered from 0; with others' requests as long as those run."""
        rows: dict[int, Row] = {}
        inbox: deque[GenerationStep] = deque()
        left = len(requests)
        tool = tool or self.tool
        try:
            with self._lock:
                scheduler = self._ready(len(requests))
                for request in requests:
                    row = Row(self._numbers, request, self.tokenizer, self.stop_tokens, self.context, tool)
                    self._numbers += 1
                    rows[row.number] = row
                    self._steps[row.number] = inbox
                    scheduler.submit(row)
            first = min(rows, default=0)
            while left:
                while not inbox:
                    with self._lock:
                        if stop and stop.is_set():
                            return
                        for step in () if inbox else scheduler.step():
                            self._steps[step.row].append(step)
                step = inbox.popleft()
                left -= step.stop_reason is not None
                yield replace(step, row=step.row - first)
        finally:
            with self._lock:
                for number, row in rows.items():
                    scheduler.cancel(row)
                    self._steps.pop(number, None)

    def _ready(self, wanted: int) -> Scheduler:
        """The scheduler, made when it is first needed: an engine that is not used takes no memory.

        What is reserved on a CPU costs nothing yet; elsewhere it does, and rows are made for those that are wanted.
        """
        scheduler, model = self._scheduler, self.model
        fixed = self._rows is not None or model.device.type == "cpu"
        if scheduler and (fixed or scheduler.busy or wanted <= scheduler.cache.rows):
            return scheduler
        most = self._rows or min(free_bytes(model.device.type) // MEMORY_SHARE // self.cache_bytes(), MOST_ROWS)
        rows = max(1, most if fixed else min(most, max(wanted, FEWEST_ROWS)))
        if scheduler is None or rows > scheduler.cache.rows:
            self._scheduler = None  # its memory goes before the new one's comes
            cache = KVCache(model.config, rows, self.context, model.device, model.compute_dtype)
            self._scheduler = scheduler = Scheduler(model, cache, lookup=self.lookup)
        return scheduler


class _Gathered:
    """The tokens of one row as they come in."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.stops = stops
        self.last: list[int] = []
        self.tokens: list[int] = []
        self.forced: list[bool] = []
        self.logprobs: list[float] = []
        self.stop_reason: StopReason = "context"

    def add(self, step: GenerationStep) -> None:
        """Take in one step."""
        if step.stop_reason != "stop":
            self.tokens.append(step.token)
            self.forced.append(step.forced)
            self.logprobs.append(step.logprob)
        else:
            self.last.append(step.token)
        self.stop_reason = step.stop_reason or self.stop_reason

    def completion(self, tokenizer: Tokenizer) -> Completion:
        """What has come in."""
        text = tokenizer.decode(self.tokens)
        if self.stops:
            whole = tokenizer.decode([*self.tokens, *self.last])
            at = min((place for stop in self.stops if (place := whole.find(stop)) >= 0), default=len(text))
            text = whole[:at] if at < len(text) else text
        return Completion(tuple(self.tokens), tuple(self.forced), tuple(self.logprobs), text, self.stop_reason)


def _sample_config(config: SamplingConfig, sample: int) -> SamplingConfig:
    """Samples of one seed must differ."""
    return config if config.seed is None else replace(config, seed=(config.seed + sample) % 2**63)
