"""The answers that reinforcement learning learns from: made by the batching engine with the weights of the moment.

A step takes the next examples of the mixture, the same in every process; each process answers its own block of them,
`samples` times each, the prompt being read once. What an answer draws depends on the seed, the step and its number in
the step alone: so runs that are resumed, or shared out among processes, get the same answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from nanochat.config.chat import SamplingConfig
from nanochat.config.rl import RlConfig
from nanochat.engine.engine import Engine
from nanochat.engine.network import Network
from nanochat.engine.steps import Completion, StopReason
from nanochat.errors import UsageError
from nanochat.model.gpt import GPT
from nanochat.model.lora import merged_state
from nanochat.runtime.events import OnEvent, RolloutsDone
from nanochat.runtime.processes import Processes
from nanochat.stages.rewards import Reward
from nanochat.tasks.mixture import Mixture
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render_for_completion
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.device_batch import DeviceBatch
from nanochat.training.policy import PolicyBatch, Rollout, advantages, logprobs_of, policy_batch

SEEDS_APART = 2**32
SMOOTHING = 0.9


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said to a prompt: all tokens with the one that ended it, and what the person sees of them."""

    tokens: tuple[int, ...]
    forced: tuple[bool, ...]
    completion: Completion


class Actor:
    """The model as it is, ready to answer.

    Its weights are copied into the form in which the engine is fastest before each lot of answers: one pass over them.

    Args:
        model: that is being trained.
        tokenizer: its own.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self._engine: Engine | None = None

    def renew(self) -> None:
        """Take the weights of the moment."""
        model = self.model
        network = Network(model.config, merged_state(model), model.device, model.compute_dtype)
        if self._engine is None:
            self._engine = Engine(network, self.tokenizer)
        else:
            self._engine.renew(network)

    def rest(self) -> None:
        """Give the memory of keys and values to those who learn."""
        if self._engine is not None:
            self._engine.forget()

    def answers(self, prompts: Sequence[Sequence[int]], samples: int, sampling: SamplingConfig) -> list[list[Answer]]:
        """`samples` answers to each prompt; answer `s` to prompt `p` has the seed plus `p * samples + s`.

        Prompts that fill the context have empty answers.
        """
        assert self._engine is not None, "renew comes first"
        count = len(prompts) * samples
        tokens: list[list[int]] = [[] for _ in range(count)]
        forced: list[list[bool]] = [[] for _ in range(count)]
        reasons: list[StopReason] = ["context"] * count
        repeated = [prompt for prompt in prompts for _ in range(samples)]
        for step in self._engine.generate_many(repeated, sampling):
            tokens[step.row].append(step.token)
            forced[step.row].append(step.forced)
            reasons[step.row] = step.stop_reason or reasons[step.row]
        found = [self._answer(*one) for one in zip(tokens, forced, reasons, strict=True)]
        return [found[at : at + samples] for at in range(0, count, samples)]

    def _answer(self, tokens: list[int], forced: list[bool], reason: StopReason) -> Answer:
        said = slice(0, len(tokens) - (reason == "stop"))
        text = self.tokenizer.decode(tokens[said])
        completion = Completion(tuple(tokens[said]), tuple(forced[said]), (), text, reason)
        return Answer(tuple(tokens), tuple(forced), completion)


def block_of(count: int, processes: Processes) -> range:
    """Which of `count` things are this process's: neighbours, so that seeds count on."""
    size = -(-count // processes.world_size)
    return range(min(count, processes.rank * size), min(count, (processes.rank + 1) * size))


class Rollouts:
    """The batches of a policy: a `BatchSource`.

    Args:
        actor: answers.
        mixture: what is practised.
        reward: pays.
        config: how many examples and answers, and how they are sampled.
        processes: each answers some of the examples of a step.
        device_batch: rows at a time.
        even: fill the last rows at a time up, for a compiler that makes one program for each number of rows.
        start: the starting model, where going away from it costs something.
        state: where to go on, from `state()`.
        on_event: told of every step's answers.
        notice: told in one line that prompts were left out.
    """

    def __init__(
        self,
        *,
        actor: Actor,
        mixture: Mixture,
        reward: Reward,
        config: RlConfig,
        processes: Processes,
        device_batch: DeviceBatch,
        even: bool,
        start: GPT | None,
        state: Mapping[str, Any] | None,
        on_event: OnEvent,
        notice: Callable[[str], None],
    ) -> None:
        self._actor = actor
        self._mixture = mixture
        self._reward = reward
        self._config = config
        self._processes = processes
        self._device_batch = device_batch
        self._even = even
        self._start = start
        self._on_event = on_event
        self._notice = notice
        found = state or {}
        self._next = int(found.get("next", 0))
        self._steps = int(found.get("steps", 0))
        self.left_out = int(found.get("left_out", 0))
        self.first_reward: float | None = found.get("first_reward")
        self.reward: float | None = found.get("reward")

    @property
    def steps(self) -> int:
        """Steps so far."""
        return self._steps

    def state(self) -> dict[str, Any]:
        """The next example, steps so far, and what is known of them."""
        return {
            "next": self._next,
            "steps": self._steps,
            "left_out": self.left_out,
            "first_reward": self.first_reward,
            "reward": self.reward,
        }

    def step(self, rows: int) -> PolicyBatch:
        """The answers to the next examples, as rows with weights; how many rows depends on what they were paid."""
        config = self._config
        began = time.perf_counter()
        numbers, conversations, prompts = self._draw()
        mine = block_of(len(numbers), self._processes)
        seed = config.seed * SEEDS_APART + (self._steps * config.examples + mine.start) * config.samples
        self._actor.renew()
        answers = self._actor.answers(prompts[mine.start : mine.stop], config.samples, config.sampling(seed % 2**63))
        self._actor.rest()
        groups = [
            [
                Rollout(
                    tuple(prompts[at]), answer.tokens, answer.forced, self._paid(numbers[at], conversations[at], answer)
                )
                for answer in group
            ]
            for at, group in zip(mine, answers, strict=True)
        ]
        self._steps += 1
        batch = policy_batch(
            groups,
            examples=config.examples,
            pad=self._actor.tokenizer.bos,
            keep_all=config.kl > 0,
            multiple=self._device_batch.rows if self._even else 1,
            places=tuple(numbers),
        )
        ended = sum(answer.completion.stop_reason == "stop" for group in answers for answer in group)
        return self._completed(batch, groups, ended, began)

    def _paid(self, number: int, conversation: Conversation, answer: Answer) -> float:
        return self._reward(self._mixture.task_of(number), conversation, answer.completion)

    def _draw(self) -> tuple[list[int], list[Conversation], list[list[int]]]:
        """Numbers, conversations and prompts of the next examples; those without room for an answer are passed over."""
        numbers: list[int] = []
        conversations: list[Conversation] = []
        prompts: list[list[int]] = []
        context = self._actor.model.config.sequence_len
        useless = 0
        while len(numbers) < self._config.examples:
            number = self._next % len(self._mixture)
            self._next += 1
            conversation = self._mixture[number]
            prompt = render_for_completion(self._actor.tokenizer, conversation)
            if len(prompt) < context:
                numbers.append(number)
                conversations.append(conversation)
                prompts.append(prompt)
                continue
            if not self.left_out:
                self._notice(f"prompts that fill the context of {context} tokens are left out")
            self.left_out += 1
            useless += 1
            if useless == len(self._mixture):
                raise UsageError(
                    f"every prompt fills the context of {context} tokens: there is no room for an answer",
                    "take a model with a longer context, or another --task",
                )
        return numbers, conversations, prompts

    def _completed(
        self, batch: PolicyBatch, groups: Sequence[Sequence[Rollout]], ended: int, began: float
    ) -> PolicyBatch:
        """The batch with what only all processes together know, and what its probabilities are compared with."""
        config = self._config
        rollouts = [rollout for group in groups for rollout in group]
        own = int((batch.targets >= 0).sum())
        telling = sum(any(advantages([rollout.reward for rollout in group])) for group in groups)
        chosen = sum(rollout.chosen for rollout in rollouts)
        paid = sum(rollout.reward for rollout in rollouts)
        valid, ended_all, telling_all, chosen_all, paid_all = self._processes.total([own, ended, telling, chosen, paid])
        count = config.examples * config.samples
        reward = paid_all / count
        if self.first_reward is None or self.reward is None:
            self.first_reward = self.reward = reward
        kept = min(SMOOTHING, 1 - 1 / self._steps)
        self.reward = kept * self.reward + (1 - kept) * reward
        # also of a batch without anything to learn: its loss takes them too
        batch = replace(
            batch,
            before=self._logprobs(self._actor.model, batch) if config.updates > 1 else None,
            start=self._logprobs(self._start, batch) if self._start else None,
        )
        self._on_event(
            RolloutsDone(
                stage="rl",
                step=self._steps,
                reward=reward,
                answer_tokens=chosen_all / count,
                ended=ended_all / count,
                telling=telling_all / config.examples,
                seconds=round(time.perf_counter() - began, 4),
            )
        )
        return replace(batch, elsewhere=int(valid) - own, generated=int(chosen_all))

    def _logprobs(self, model: GPT, batch: PolicyBatch) -> Tensor:
        return self._device_batch.attempt(lambda rows: logprobs_of(model, batch, rows))
