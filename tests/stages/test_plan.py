"""The plan of a pretraining run: its figures are those of the run, and nothing heavy is loaded for it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from nanochat.config.train import BaseTrainConfig
from nanochat.errors import MissingError, UsageError
from nanochat.runtime.events import StageStarted
from nanochat.stages.plan import plan_base
from nanochat.training.horizon import base_horizon

from .conftest import Toy


def test_the_plan_is_what_the_run_does(toy: Toy) -> None:
    config = toy.config("base")
    assert isinstance(config, BaseTrainConfig)
    plan = plan_base(config, toy.context.paths)
    result, events = toy.train("base")
    (started,) = [event for event in events if isinstance(event, StageStarted)]
    assert (plan.steps, plan.tokens) == (started.total_steps, started.tokens)
    assert plan.tokens == result.summary["tokens"]
    assert plan.micro_steps == 2
    assert plan.missing == {}
    checkpoint = next(toy.folder("base").glob("step_*"))
    size = sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())
    assert plan.checkpoint_bytes == pytest.approx(size, rel=0.3)
    assert plan.epochs["pocket"] is not None
    assert 0 < plan.epochs["pocket"] < 1


def test_reference_sizes_before_anything_is_there(toy: Toy) -> None:
    config = BaseTrainConfig(depth=20, data="one:3,two:1", tokenizer="none")
    plan = plan_base(config, toy.context.paths)
    model = config.model(32_768)
    assert plan.tokens == base_horizon(config, model).tokens
    assert plan.model == model.to_dict()
    assert plan.parameters["total"] == sum(count for name, count in plan.parameters.items() if name != "total")
    assert set(plan.missing) == {"tokenizer", "data"}
    assert "--name one" in plan.missing["data"]
    text = "\n".join(plan.lines())
    assert "20 layers of 1280 channels, 10 heads, context 2,048, vocabulary 32,768" in text
    assert f"in {plan.steps:,} steps of {plan.batch_tokens:,}" in text


def test_shares_of_several_data_sets(toy: Toy) -> None:
    (toy.base / "data" / "more").symlink_to(toy.base / "data" / "pocket")
    config = toy.config("base")
    alone = plan_base(config, toy.context.paths).epochs["pocket"]
    both = plan_base(replace(config, data="pocket:3,more:1"), toy.context.paths).epochs
    assert alone is not None
    assert both == {"pocket": pytest.approx(0.75 * alone), "more": pytest.approx(0.25 * alone)}


def test_rows_that_are_chosen_later(toy: Toy) -> None:
    plan = plan_base(replace(toy.config("base"), device_batch_size=0), toy.context.paths)
    assert plan.micro_steps is None
    assert "as many rows as fit at a time" in "\n".join(plan.lines())


def test_what_cannot_work(toy: Toy) -> None:
    with pytest.raises(UsageError, match="must be divisible"):
        plan_base(replace(toy.config("base"), total_batch_size=1000), toy.context.paths)
    with pytest.raises(MissingError):
        plan_base(replace(toy.config("base"), source="none:base"), toy.context.paths)


def test_no_torch(toy: Toy) -> None:
    code = (
        "import sys; from nanochat.cli import main; "
        "assert main(['train', 'base', '--dry-run', '--base-dir', sys.argv[1]]) == 0; "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, str(toy.base)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pocket will be seen" in done.stdout
    assert not (toy.base / "models").exists()
