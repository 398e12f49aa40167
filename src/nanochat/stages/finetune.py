"""Mid-training and SFT: one procedure on conversations, told apart by what is trained and by its dials.

Mid teaches the form of a conversation and trains all tokens; sft trains the assistant's alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from nanochat.checkpoints.selector import resolve
from nanochat.checkpoints.store import load_checkpoint
from nanochat.config.train import ChatTrainConfig, MidTrainConfig, SftConfig
from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent
from nanochat.stages.conversations import file_hashes, mean_tokens, open_chat_data, settle_data
from nanochat.stages.folder import StageResult
from nanochat.stages.run import StageRun
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.batches import Prepared, Share
from nanochat.training.conversations import ConversationPacker, Rendered, fixed_batches
from nanochat.training.loop import Dials
from nanochat.training.optimizer import LearningRates, build_optimizer
from nanochat.training.schedule import finetune_momentum, lr_multiplier

PREVIOUS = {"mid": "base", "sft": "mid"}


def midtrain(config: MidTrainConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train the mid stage; see `finetune`."""
    return finetune("mid", config, context, on_event)


def sft(config: SftConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train the sft stage; see `finetune`."""
    return finetune("sft", config, context, on_event)


def rendered_for(tokenizer: Tokenizer, conversations: Iterable[Conversation], *, train_all: bool) -> list[Rendered]:
    """Conversations as rows of ids with the mask of what is trained."""
    return [_trainable(render(tokenizer, conversation), train_all=train_all) for conversation in conversations]


def _trainable(rendered: Rendered, *, train_all: bool) -> Rendered:
    ids, mask = rendered
    return (ids, [1] * len(ids)) if train_all else (ids, mask)


def finetune(
    stage: Literal["mid", "sft"], config: ChatTrainConfig, context: RunContext, on_event: OnEvent
) -> StageResult:
    """Train on conversations, starting from the previous stage, or go on where this one stood.

    Raises:
        MissingError: the model to start from does not exist.
        ConversationError: a file of conversations has bad lines.
        UsageError, Interrupted, DivergedError: as in pretraining.
    """
    config = context.processes.first_does(lambda: settle_data(config, context.paths))
    run = StageRun(context, stage, config, on_event)
    train_all = stage == "mid"
    with run.owned():
        hashes = file_hashes(config, stage)
        if result := run.finished(hashes):
            return result
        resumed = run.resume()
        selector = config.source or f"{config.tag}:{PREVIOUS[stage]}"
        start = resumed or load_checkpoint(
            context.processes.first_does(lambda: resolve(context.paths, selector, run.notice)), with_optimizer=True
        )
        tokenizer, model_config = start.tokenizer, start.model_config
        model = GPT(model_config)
        model.load_state_dict(start.model_state)
        sequence_len = model_config.sequence_len
        batch_tokens = config.total_batch_size or int(start.state["total_batch_size"])
        config.micro_steps(sequence_len, batch_tokens, context.world_size)
        data = open_chat_data(stage, config, context.paths, hashes)
        for line in data.lines:
            run.notice(line, level="info")
        for line in data.notices:
            run.notice(line)
        mixture = data.train
        mean = mean_tokens(data, tokenizer, sequence_len + 1)
        steps = config.num_steps or max(1, int(len(mixture) * mean // batch_tokens))
        run.place(model, batch_tokens=batch_tokens, steps=steps)
        packer = ConversationPacker(
            lambda i: _trainable(render(tokenizer, mixture[i]), train_all=train_all),
            len(mixture),
            sequence_len,
            pad=tokenizer.bos,
            state=resumed.state["loader"] if resumed else None,
            share=Share(context.processes.rank, context.world_size),
        )
        # no sqrt rule for the batch here: fine-tuning takes its rates as given
        optimizer = build_optimizer(
            model,
            LearningRates().scaled(config.lr_scale),
            plain=True,
            compile=run.context.compile,
            processes=context.processes,
        )
        # momenta go on from the stage before: a first step without them is as large as the learning rate in every
        # coordinate, and undoes much of what was learnt (loss 0.5 -> 2.5 on pocket)
        if start.optimizer_state:
            optimizer.load_state_dict(start.optimizer_state)
        start.forget_tensors()

        def dials(step: int) -> Dials:
            return Dials(
                lr_multiplier=lr_multiplier(step, steps, warmup=0, warmdown=config.warmdown, final=config.final_lr),
                momentum=finetune_momentum(step),
            )

        return run.train(
            model=model,
            tokenizer=tokenizer,
            optimizer=optimizer,
            source=Prepared(packer),
            resumed=resumed,
            total_steps=steps,
            total_batch_size=batch_tokens,
            dials=dials,
            validation=fixed_batches(
                rendered_for(tokenizer, data.validation, train_all=train_all),
                sequence_len,
                run.device_batch.rows,
                tokenizer.bos,
            ),
            data=data.record,
        )
