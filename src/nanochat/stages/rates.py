"""The learning rates that a fine-tuning stage takes over from the model it starts from.

A stage keeps the three it was given in its checkpoints, so that those that follow need nothing else. They are taken as
given, without a rule for the batch: that of fine-tuning has no optimum that grows with its root. A base run of small
batches is given large ones, which that rule then lowers; what is above the reference system's own rates is therefore
taken as that run trained with it, not as it was given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nanochat.checkpoints.layout import read_json
from nanochat.checkpoints.store import Checkpoint
from nanochat.config.train import ChatTrainConfig
from nanochat.training.horizon import REFERENCE_BATCH
from nanochat.training.optimizer import LearningRates

KEY = "rates"  # in a checkpoint's state
NAMES = {"matrix_lr": "matrices", "embedding_lr": "wte", "unembedding_lr": "lm_head"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Inherited:
    """The three rates of a stage.

    Attributes:
        given: by the names of the dials, before `lr_scale`.
        origins: where each is from, in words.
    """

    given: Mapping[str, float]
    origins: Mapping[str, str]

    def learning_rates(self, config: ChatTrainConfig, further: float = 1.0) -> LearningRates:
        """Those of all groups, `lr_scale` and a further factor included."""
        rates = learning_rates(**self.given, scalar_lr=config.scalar_lr)
        return rates.scaled(config.lr_scale * further)

    def line(self, config: ChatTrainConfig, further: float = 1.0) -> str:
        """As a person reads it."""
        words = {"matrix_lr": "matrices", "embedding_lr": "embedding", "unembedding_lr": "output layer"}
        told = [f"{words[name]} {value:g} ({self.origins[name]})" for name, value in self.given.items()]
        return (
            f"learning rates: {', '.join(told)}, scalars {config.scalar_lr:g}; all times {config.lr_scale * further:g}"
        )


def learning_rates(*, matrix_lr: float, embedding_lr: float, unembedding_lr: float, scalar_lr: float) -> LearningRates:
    """All rates from the four dials; value embeddings follow the token embedding at half its rate."""
    return LearningRates(
        lm_head=unembedding_lr,
        wte=embedding_lr,
        value_embeds=embedding_lr / 2,
        resid_lambdas=scalar_lr / 100,
        x0_lambdas=scalar_lr,
        matrices=matrix_lr,
    )


def to_keep(rates: Mapping[str, float], batch_scale: float = 1.0) -> dict[str, Any]:
    """What a checkpoint's state says of the rates of its stage.

    Args:
        rates: as given, by the names of the dials.
        batch_scale: the factor that the stage's batch put on them.
    """
    return {KEY: {**rates, "batch_scale": batch_scale}}


def inherited_rates(config: ChatTrainConfig, start: Checkpoint) -> Inherited:
    """The dials of a stage, and for those left open the rates of the model it starts from."""
    found = _recorded(start)
    usual = LearningRates()
    given: dict[str, float] = {}
    origins: dict[str, str] = {}
    for name, group in NAMES.items():
        value, default = getattr(config, name), getattr(usual, group)
        if value is not None:
            given[name], origins[name] = value, "as set"
        elif name not in found:
            given[name], origins[name] = default, "the default: the model's is not on record"
        else:
            trained = found[name] * found.get("batch_scale", 1.0)
            given[name] = min(found[name], max(default, trained))
            origins[name] = "the model's" if given[name] == found[name] else f"the model's was {found[name]:g}"
    return Inherited(given=given, origins=origins)


def passed_on(start: Checkpoint) -> dict[str, Any]:
    """What a stage without a batch of tokens and rates of its own hands from the model it starts from to its heirs."""
    found = _recorded(start)
    sizes = {name: start.state[name] for name in ("total_batch_size",) if name in start.state}
    return {**sizes, **({KEY: found} if found else {})}


def _recorded(start: Checkpoint) -> dict[str, float]:
    """The rates in a checkpoint, or, where it is older or was imported, in the record of its stage."""
    state = start.state
    if isinstance(kept := state.get(KEY), Mapping):
        return _numbers(kept)
    record = read_json(start.path.parent / "config.json") or {}
    imported = record.get("imported", {}).get("meta", {})
    settings = record.get("train") or (imported.get("user_config") if isinstance(imported, Mapping) else None)
    found = _numbers(settings) if isinstance(settings, Mapping) else {}
    if found and start.path.parent.name == "base":
        found["batch_scale"] = math.sqrt(state.get("total_batch_size", REFERENCE_BATCH) / REFERENCE_BATCH)
    return found


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    wanted = (*NAMES, "batch_scale")
    return {
        name: float(value)
        for name, value in values.items()
        if name in wanted and isinstance(value, int | float) and not isinstance(value, bool)
    }
