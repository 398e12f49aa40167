"""Mid-training and SFT: one procedure on conversations, told apart by what is trained and by its dials.

Mid teaches the form of a conversation and trains all tokens; sft trains the assistant's alone. Context, batch and
learning rates are those of the model it starts from where nothing else is said, and a person is told which. Pairs of a
better and a worse answer are `preferences`' matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from nanochat.config.train import ChatTrainConfig, MidTrainConfig, SftConfig
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent
from nanochat.stages.conversations import file_hashes, open_chat_data, settle_data
from nanochat.stages.folder import StageResult
from nanochat.stages.preferences import prefer
from nanochat.stages.run import StageRun
from nanochat.stages.scoring import scoring_of
from nanochat.stages.start import finetune_dials, model_of, prepare, starting_model
from nanochat.tokenizer.conversation import Conversation
from nanochat.tokenizer.render import render
from nanochat.tokenizer.special import USER_START
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.batches import Prepared, Share
from nanochat.training.conversations import ConversationPacker, Rendered, fixed_batches, rows_of

MEASURED = 2000  # conversations that tell how many rows an epoch fills: to within 2% where lengths vary as widely


def midtrain(config: MidTrainConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train the mid stage; see `finetune`."""
    return finetune("mid", config, context, on_event)


def sft(config: SftConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train the sft stage, on conversations or on preferences; see `finetune` and `preferences.prefer`."""
    if config.preferences:
        return prefer(config, context, on_event)
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
        start = resumed or starting_model(run, config)
        tokenizer = start.tokenizer
        model, row_len = model_of(start, config)
        batch_tokens = config.total_batch_size or int(start.state["total_batch_size"])
        config.micro_steps(row_len, batch_tokens, context.world_size)
        data = open_chat_data(stage, config, context.paths, hashes)
        for line in data.lines:
            run.notice(line, level="info")
        for line in data.notices:
            run.notice(line)
        scoring = scoring_of(config, context.paths)
        turn = tokenizer.special(USER_START)
        mixture = data.train

        def read(index: int) -> Rendered:
            return _trainable(render(tokenizer, mixture[index]), train_all=train_all)

        epoch_rows = rows_of_epoch(read, len(mixture), row_len, turn)
        steps = config.num_steps or max(1, round(config.epochs * epoch_rows * row_len / batch_tokens))
        run.at_start(f"batch: {batch_tokens:,} tokens, in rows of {row_len:,}; {steps:,} steps")
        optimizer, inherited = prepare(
            run, config, start, model, resumed, batch_tokens=batch_tokens, steps=steps, row_len=row_len
        )
        packer = ConversationPacker(
            read,
            len(mixture),
            row_len,
            pad=tokenizer.bos,
            turn=turn,
            state=resumed.state["loader"] if resumed else None,
            share=Share(context.processes.rank, context.world_size),
        )
        start.forget_tensors()

        def closing(loader: Mapping[str, Any]) -> Mapping[str, Any]:
            packed, cropped, dropped = loader["counts"]
            packed -= len(loader["buffer"])
            run.notice(
                f"conversations: {packed:,} packed ({packed / len(mixture):.2f} epochs), {cropped:,} of those read cut "
                f"to a row, {dropped:,} left out for having nothing to train on",
                level="info",
            )
            return {"packed": packed, "cropped": cropped, "dropped": dropped}

        return run.train(
            model=model,
            tokenizer=tokenizer,
            optimizer=optimizer,
            source=Prepared(packer),
            resumed=resumed,
            total_steps=steps,
            total_batch_size=batch_tokens,
            dials=finetune_dials(config, steps),
            validation=fixed_batches(
                rendered_for(tokenizer, data.validation, train_all=train_all),
                row_len,
                run.device_batch.rows,
                pad=tokenizer.bos,
                turn=turn,
            ),
            data=data.record,
            inherited=inherited,
            scoring=scoring,
            closing=closing,
        )


def rows_of_epoch(read: Callable[[int], Rendered], count: int, row_len: int, turn: int) -> float:
    """How many rows `count` conversations fill, from as many of them as tell."""
    measured = min(count, MEASURED)
    rows = rows_of((read(number * count // measured) for number in range(measured)), row_len, turn)
    return rows * count / measured
