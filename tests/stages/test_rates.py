"""The learning rates that a stage takes over: from its record, an older one, an imported one, or none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from doubles import tiny_config, tiny_tokenizer

from nanochat.checkpoints.store import Checkpoint
from nanochat.config.train import BaseTrainConfig, MidTrainConfig, SftConfig
from nanochat.stages.rates import inherited_rates, learning_rates, to_keep
from nanochat.training.optimizer import LearningRates

GIVEN = {"matrix_lr": 0.03, "embedding_lr": 0.4, "unembedding_lr": 0.002}


def start(folder: Path, stage: str = "base", **state: Any) -> Checkpoint:
    step_dir = folder / stage / "step_000001"
    step_dir.mkdir(parents=True)
    return Checkpoint(
        path=step_dir,
        step=1,
        model_config=tiny_config(),
        model_state={},
        optimizer_state=None,
        state={"total_batch_size": 2**19, **state},
        tokenizer=tiny_tokenizer(),
    )


def test_four_dials_set_all_rates() -> None:
    rates = learning_rates(matrix_lr=1, embedding_lr=2, unembedding_lr=3, scalar_lr=4)
    assert (rates.matrices, rates.wte, rates.value_embeds, rates.lm_head) == (1, 2, 1, 3)
    assert (rates.x0_lambdas, rates.resid_lambdas, rates.smear) == (4, 0.04, 0.2)
    config = BaseTrainConfig()
    usual = {name: getattr(config, name) for name in GIVEN}
    assert learning_rates(**usual, scalar_lr=config.scalar_lr) == LearningRates()  # the defaults are era D's


def test_they_are_taken_as_given_and_scaled(tmp_path: Path) -> None:
    found = inherited_rates(SftConfig(), start(tmp_path, **to_keep(GIVEN, batch_scale=1.4)))
    assert found.given == GIVEN
    rates = found.learning_rates(SftConfig())
    assert (rates.matrices, rates.wte, rates.lm_head) == pytest.approx((0.024, 0.32, 0.0016))
    assert found.line(SftConfig()) == (
        "learning rates: matrices 0.03 (the model's), embedding 0.4 (the model's), output layer 0.002 (the model's), "
        "scalars 0.5; all times 0.8"
    )


def test_what_is_set_wins(tmp_path: Path) -> None:
    kept = to_keep(GIVEN)
    found = inherited_rates(SftConfig(matrix_lr=0.01), start(tmp_path, **kept))
    assert found.given == {**GIVEN, "matrix_lr": 0.01}
    found = inherited_rates(MidTrainConfig(), start(tmp_path / "other", **kept))
    assert found.given == {"matrix_lr": 0.02, "embedding_lr": 0.2, "unembedding_lr": 0.004}


def test_rates_made_for_small_batches_are_taken_as_they_were_used(tmp_path: Path) -> None:
    given = {"matrix_lr": 0.3, "embedding_lr": 2.4, "unembedding_lr": 0.006}
    found = inherited_rates(SftConfig(), start(tmp_path, **to_keep(given, batch_scale=0.1)))
    assert found.given == pytest.approx({"matrix_lr": 0.03, "embedding_lr": 0.3, "unembedding_lr": 0.006})
    assert "matrices 0.03 (the model's was 0.3)" in found.line(SftConfig())


def test_older_records_and_imported_ones_tell_too(tmp_path: Path) -> None:
    old, imported = start(tmp_path / "old"), start(tmp_path / "imported")
    config = tmp_path / "old" / "base" / "config.json"
    config.write_text(json.dumps({"train": {**GIVEN, "depth": 4}}))
    assert inherited_rates(SftConfig(), old).given == GIVEN
    config = tmp_path / "imported" / "base" / "config.json"
    config.write_text(json.dumps({"imported": {"meta": {"user_config": {"matrix_lr": 0.015, "run": "d20"}}}}))
    assert inherited_rates(SftConfig(), imported).given == {
        "matrix_lr": 0.015,
        "embedding_lr": 0.3,
        "unembedding_lr": 0.008,
    }
    nothing = inherited_rates(SftConfig(), start(tmp_path / "nothing", "mid"))
    assert nothing.given == {"matrix_lr": 0.02, "embedding_lr": 0.3, "unembedding_lr": 0.008}
    assert "not on record" in nothing.line(SftConfig())
