"""The base stage: a model learns to continue text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from nanochat.checkpoints.selector import resolve
from nanochat.checkpoints.store import load_checkpoint
from nanochat.config.train import BaseTrainConfig
from nanochat.data.amount import estimate_tokens
from nanochat.data.loader import RowLoader, mixed_validation_rows
from nanochat.data.mixture import TextMixture
from nanochat.data.passes import Damage
from nanochat.errors import UsageError
from nanochat.model.gpt import GPT
from nanochat.model.init import init_weights
from nanochat.runtime.context import RunContext
from nanochat.runtime.events import OnEvent
from nanochat.stages.core_cadence import core_cadence
from nanochat.stages.folder import StageResult
from nanochat.stages.plan import short_count
from nanochat.stages.rates import NAMES, learning_rates, to_keep
from nanochat.stages.run import StageRun
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.training.batches import Prepared, Share, TextPacker, text_batches
from nanochat.training.horizon import base_horizon
from nanochat.training.loop import Dials
from nanochat.training.optimizer import build_optimizer
from nanochat.training.schedule import lr_multiplier, muon_momentum, weight_decay_at

EPOCHS_THAT_TEACH = 4  # up to here repeated text is nearly as good as new text (arXiv 2305.16264)


def tell_epochs(text: TextMixture, tokenizer: Tokenizer, tokens: int, notice: Callable[[str, str], None]) -> None:
    """Say so when a data set is shorter than its part of the run, and warn where repeating no longer teaches much."""
    for dataset, weight in text.parts:
        there = estimate_tokens(dataset, tokenizer)
        taken = tokens * weight
        epochs = taken / max(1, there)
        if epochs > 1:
            notice(
                f"data set {dataset.name!r} has about {short_count(there)} tokens, "
                f"the run takes {short_count(taken)}: "
                f"it will see everything {epochs:.1f} times "
                "(more text, or a lower --ratio or --num-steps, would change that)",
                "warning" if epochs > EPOCHS_THAT_TEACH else "info",
            )


def pretrain(config: BaseTrainConfig, context: RunContext, on_event: OnEvent) -> StageResult:
    """Train a base model, or go on with it.

    With `config.source` weights, shape, tokenizer and momenta are those of the model it names; only the context is
    the config's, and the rotary tables are made for it.

    Raises:
        MissingError: no data set or tokenizer, no model to go on with, or no CORE bundle where it is to be measured.
        UsageError: sizes that do not fit together, or other settings than the run in the folder.
        Interrupted: stopped by a signal with everything saved.
        DivergedError: the loss is not a number.
    """
    run = StageRun(context, "base", config, on_event)
    text = TextMixture.open(context.paths, config.data)
    source = None
    if config.source:
        path = context.processes.first_does(lambda: resolve(context.paths, config.source, run.notice))
        source = load_checkpoint(path, with_optimizer=True)
        tokenizer = source.tokenizer
        model_config = replace(source.model_config, sequence_len=config.sequence_len)
    else:
        tokenizer = Tokenizer.load(context.paths.tokenizer(config.tokenizer))
        model_config = config.model(tokenizer.vocab_size)
    horizon = base_horizon(config, model_config, context.world_size)
    with run.owned():
        if result := run.finished():
            return result
        core = core_cadence(config, context, run.on_event)
        resumed = run.resume()
        if resumed and resumed.tokenizer.fingerprint != tokenizer.fingerprint:
            raise UsageError(
                f"{config.tag}:base was begun with another tokenizer than {config.source or config.tokenizer!r} is now",
                f"choose another --tag, or delete {run.folder}",
            )
        start = resumed or source
        model = GPT(model_config)
        if start:
            model.load_state_dict(start.model_state)
        else:
            init_weights(model, config.seed)
        run.place(model, batch_tokens=horizon.batch_tokens, steps=horizon.steps)
        rates = {name: getattr(config, name) for name in NAMES}
        optimizer = build_optimizer(
            model,
            learning_rates(**rates, scalar_lr=config.scalar_lr),
            batch_scale=horizon.batch_scale,
            weight_decay=horizon.weight_decay,
            compile=run.context.compile,
            processes=context.processes,
        )
        if start and start.optimizer_state:
            optimizer.load_state_dict(start.optimizer_state)
        for loaded in (resumed, source):
            if loaded:
                loaded.forget_tensors()
        damage = Damage(config.damage_limit)
        loader = RowLoader(
            text.shards,
            tokenizer,
            model_config.sequence_len,
            seed=config.seed,
            state=resumed.state["loader"] if resumed else None,
            tails=config.tails,
            portions=text.portions,
            damage=damage,
        )
        rows = list(mixed_validation_rows(text, tokenizer, model_config.sequence_len, config.eval_tokens))
        tell_epochs(text, tokenizer, horizon.tokens, run.notice)

        def tell_damage() -> None:
            for line in damage.untold():
                run.notice(line)

        def dials(step: int) -> Dials:
            return Dials(
                lr_multiplier=lr_multiplier(
                    step,
                    horizon.steps,
                    warmup=config.warmup,
                    warmdown=config.warmdown,
                    final=config.final_lr,
                ),
                momentum=muon_momentum(step, horizon.steps, warmdown=config.warmdown),
                weight_decay=weight_decay_at(step, horizon.steps, horizon.weight_decay),
            )

        return run.train(
            model=model,
            tokenizer=tokenizer,
            optimizer=optimizer,
            source=Prepared(
                TextPacker(loader, Share(context.processes.rank, context.world_size)), before_step=tell_damage
            ),
            resumed=resumed,
            total_steps=horizon.steps,
            total_batch_size=horizon.batch_tokens,
            inherited=to_keep(rates, horizon.batch_scale),
            dials=dials,
            validation=text_batches(rows, run.device_batch.rows),
            data={"name": text.name, "shards": len(text.shards), "documents": text.documents()},
            core=core,
        )
