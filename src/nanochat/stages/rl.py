"""Reinforcement learning: the model answers problems, and what is paid well becomes likelier.

On-policy: every step answers anew with the weights of the moment; see `rollouts` for the answers, `training.policy` for
what is learnt from them, `practice` for the tasks and how the model is examined. Left out: a model of values, and
rewards that another model gives.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from nanochat.config.rewards import parse_rewards
from nanochat.config.rl import RlConfig
from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent
from nanochat.stages.folder import StageResult
from nanochat.stages.practice import Examination, file_hashes, open_practice
from nanochat.stages.rates import passed_on
from nanochat.stages.rewards import Reward
from nanochat.stages.rollouts import Actor, Rollouts
from nanochat.stages.run import StageRun
from nanochat.stages.settle import place_model
from nanochat.stages.start import adapt, adapter_optimizer, finetune_dials, place_of, source_of, start_of
from nanochat.training.optimizer import LearningRates, build_optimizer
from nanochat.training.policy import policy_loss

RATES = LearningRates(lm_head=0.004, wte=0.2, value_embeds=0.1, matrices=0.02)
"""Before `lr_scale`; those of the reference system's reinforcement learning."""


def rl(config: RlConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train the rl stage, starting from sft, or go on where this one stood.

    Raises:
        MissingError: the model to start from, or a file, does not exist.
        UsageError: no such task or reward, or other settings than the run in the folder.
        ConversationError: a file of conversations has bad lines.
        Interrupted, DivergedError: as in pretraining.
    """
    run = StageRun(context, "rl", config, on_event)
    rewards = parse_rewards(config.reward)
    processes = context.processes
    with run.owned():
        hashes = file_hashes(config, [part.path for part in rewards if part.function])
        if result := run.finished(hashes):
            return result
        resumed = run.resume()
        start = resumed or start_of(run, source_of(run, config))
        place = place_of(run, start, resumed, source_of(run, config))
        tokenizer, model_config = start.tokenizer, start.model_config
        model = GPT(model_config)
        model.load_state_dict(start.model_state)
        practice = open_practice(config, context.paths)
        reward = Reward(rewards, tokenizer, config.max_new_tokens)
        steps = config.num_steps or max(1, len(practice.train) // config.examples)
        rows = -(-config.examples // processes.world_size) * config.samples
        if config.lora_rank:
            adapt(run, config, model, resumed)
        run.place(model, batch_tokens=rows * processes.world_size * model_config.sequence_len, steps=steps)
        compile = _compiles(run)
        if config.lora_rank:
            optimizer = adapter_optimizer(run, config, model, resumed)
        else:
            rates = RATES.scaled(config.lr_scale)
            optimizer = build_optimizer(model, rates, plain=True, compile=compile, processes=processes)
            if start.optimizer_state:
                optimizer.load_state_dict(start.optimizer_state)
        start.forget_tensors()
        actor = Actor(model, tokenizer)
        source = Rollouts(
            actor=actor,
            mixture=practice.train,
            reward=reward,
            config=config,
            processes=processes,
            device_batch=run.device_batch,
            even=compile,
            start=_frozen(model, place if resumed else None, run) if config.kl else None,
            state=resumed.state["loader"] if resumed else None,
            on_event=run.on_event,
            notice=run.notice,
        )
        loss = policy_loss(model, clip=config.clip, kl=config.kl, moved=config.updates > 1)
        return run.train(
            model=model,
            tokenizer=tokenizer,
            optimizer=optimizer,
            source=source,
            resumed=resumed,
            total_steps=steps,
            total_batch_size=config.examples * config.samples,
            dials=finetune_dials(config, steps, config.warmup),
            validation=[],
            data={
                "name": config.task,
                "conversations": len(practice.train),
                "mixture": practice.train.counts,
                "start": place,
                "files": {name: {"sha256": sha256} for name, sha256 in hashes.items()},
            },
            objective=Examination(
                actor=actor,
                loss=torch.compile(loss, dynamic=False) if compile else loss,
                step=lambda: source.steps,
                held_out=practice.held_out,
                config=config,
                processes=processes,
                on_event=run.on_event,
            ),
            inherited=passed_on(start),
            updates=config.updates,
            closing=lambda loader: {name: loader[name] for name in ("first_reward", "reward", "left_out")},
        )


def _compiles(run: StageRun) -> bool:
    """Whether the loss is compiled, for each length that answers have.

    They are few: on a CPU that pays only where it was measured to, or asked for.
    """
    settled = run.context.device != "cpu" or "compile" not in run.context.open
    run.context = replace(run.context, compile=run.context.compile and settled)
    return run.context.compile


def _frozen(model: GPT, selector: str | None, run: StageRun) -> GPT:
    """The starting model: a copy of `model` before its first step, afterwards the checkpoint it came from."""
    if selector is None:
        return copy.deepcopy(model).requires_grad_(False)
    checkpoint = start_of(run, selector)
    frozen = GPT(checkpoint.model_config)
    frozen.load_state_dict(checkpoint.model_state)
    place_model(frozen, run.context)
    return frozen.requires_grad_(False)
