"""Mid-training and SFT: one procedure on conversations, told apart by what is trained and by its dials.

Mid teaches the form of a conversation and trains all tokens; sft trains the assistant's alone.
"""

from __future__ import annotations

from typing import Literal

from nanochat.checkpoints.selector import resolve
from nanochat.checkpoints.store import load_checkpoint
from nanochat.config.train import ChatTrainConfig, MidTrainConfig, SftConfig
from nanochat.model.gpt import GPT
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent
from nanochat.stages.run import StageResult, StageRun
from nanochat.tasks.mixture import Mixture
from nanochat.tasks.pocket import pocket_tasks
from nanochat.tokenizer.render import render
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.batches import ConversationPacker, Prepared, Rendered, fixed_batches
from nanochat.training.loop import Dials
from nanochat.training.optimizer import LearningRates, build_optimizer
from nanochat.training.schedule import finetune_momentum, lr_multiplier

PREVIOUS = {"mid": "base", "sft": "mid"}
VALIDATION_PER_TASK = 20

# In conversations; a list with its follow-up questions is over four times as long as a question about a fact, so
# lists are about half of the tokens. Binding a choice to its letter is learnt last and only where the answer alone is
# trained (a letter is one token in sixty): hence more choices in sft, and fewer lines in full.
SHARES = {
    "mid": {
        "facts": 22,
        "arithmetic": 4,
        "counting": 5,
        "spelling": 3,
        "choice": 5,
        "lookup": 4,
        "binding": 3,
        "identity": 1,
        "dialogue": 2,
    },
    "sft": {
        "facts": 32,
        "arithmetic": 5,
        "counting": 6,
        "spelling": 4,
        "choice": 6,
        "lookup": 4,
        "binding": 1,
        "identity": 1,
        "dialogue": 2,
    },
}
MEAN_CONVERSATION_TOKENS = 60  # of the pocket mixture; decides only how long a run of N conversations is


def midtrain(config: MidTrainConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train the mid stage; see `finetune`."""
    return finetune("mid", config, context, on_event)


def sft(config: SftConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train the sft stage; see `finetune`."""
    return finetune("sft", config, context, on_event)


def pocket_mixture(stage: Literal["mid", "sft"], count: int, seed: int) -> Mixture:
    """`count` training conversations in the stage's proportions; each stage has conversations of its own."""
    shares = SHARES[stage]
    sizes = {name: max(1, round(count * share / sum(shares.values()))) for name, share in shares.items()}
    tasks = pocket_tasks("train", sizes=sizes, seed=list(SHARES).index(stage))
    return Mixture([(task, None) for task in tasks.values()], seed=seed)


def validation_conversations(tokenizer: Tokenizer, *, train_all: bool) -> list[Rendered]:
    """Held-out conversations of every pocket task, rendered."""
    return [
        _trainable(render(tokenizer, conversation), train_all=train_all)
        for task in pocket_tasks("val", VALIDATION_PER_TASK).values()
        for conversation in task
    ]


def _trainable(rendered: Rendered, *, train_all: bool) -> Rendered:
    ids, mask = rendered
    return (ids, [1] * len(ids)) if train_all else (ids, mask)


def finetune(
    stage: Literal["mid", "sft"], config: ChatTrainConfig, context: RunContext, on_event: OnEvent
) -> StageResult:
    """Train on conversations, starting from the previous stage, or go on where this one stood.

    Raises:
        MissingError: the model to start from does not exist.
        UsageError, Interrupted, DivergedError: as in pretraining.
    """
    run = StageRun(context, stage, config, on_event)
    train_all = stage == "mid"
    with run.owned():
        if result := run.finished():
            return result
        resumed = run.resume()
        start = resumed or load_checkpoint(
            resolve(context.paths, config.source or f"{config.tag}:{PREVIOUS[stage]}", run.notice),
            with_optimizer=True,
        )
        tokenizer, model_config = start.tokenizer, start.model_config
        model = GPT(model_config)
        model.load_state_dict(start.model_state)
        sequence_len = model_config.sequence_len
        batch_tokens = config.total_batch_size or int(start.state["total_batch_size"])
        config.micro_steps(sequence_len, batch_tokens)
        mixture = pocket_mixture(stage, config.conversations, config.seed)
        steps = config.num_steps or max(1, len(mixture) * MEAN_CONVERSATION_TOKENS // batch_tokens)
        run.place(model, batch_tokens=batch_tokens, steps=steps)
        packer = ConversationPacker(
            lambda i: _trainable(render(tokenizer, mixture[i]), train_all=train_all),
            len(mixture),
            sequence_len,
            pad=tokenizer.bos,
            state=resumed.state["loader"] if resumed else None,
        )
        # no sqrt rule for the batch here: fine-tuning takes its rates as given
        optimizer = build_optimizer(
            model,
            LearningRates().scaled(config.lr_scale),
            plain=True,
            compile=run.context.compile,
        )
        # momenta go on from the stage before: a first step without them is as large as the learning rate in every
        # coordinate, and undoes much of what was learnt (loss 0.5 -> 2.5 on pocket)
        if start.optimizer_state:
            optimizer.load_state_dict(start.optimizer_state)

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
                validation_conversations(tokenizer, train_all=train_all),
                sequence_len,
                run.device_batch.rows,
                tokenizer.bos,
            ),
            data={"name": "pocket", "conversations": len(mixture), "mixture": mixture.counts},
        )
