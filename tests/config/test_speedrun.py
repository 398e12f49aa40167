"""What a person may change about a preset reaches every stage of it."""

from __future__ import annotations

import pytest

from nanochat.config.speedrun import SpeedrunConfig, pocket_recipe
from nanochat.errors import UsageError


def test_machine_settings_and_seed_reach_every_stage() -> None:
    recipe = pocket_recipe(SpeedrunConfig(tag="mine", rl=True, seed=7, threads=3, dtype="float32", compile="off"))
    for stage in (recipe.base, recipe.mid, recipe.sft, recipe.rl):
        assert (stage.tag, stage.seed, stage.threads, stage.dtype, stage.compile) == ("mine", 7, 3, "float32", "off")


@pytest.mark.parametrize("scale", [0.001, 0.5, 2.0])
def test_scale_changes_the_length_of_every_stage_and_nothing_else(scale: float) -> None:
    plain, scaled = pocket_recipe(SpeedrunConfig(rl=True)), pocket_recipe(SpeedrunConfig(rl=True, scale=scale))
    for name in ("base", "mid", "sft", "rl"):
        before, after = getattr(plain, name), getattr(scaled, name)
        assert after.num_steps == max(1, round(before.num_steps * scale))
        assert after.total_batch_size == before.total_batch_size
    assert plain.tokenizer == scaled.tokenizer


def test_reinforcement_learning_is_asked_for() -> None:
    assert pocket_recipe(SpeedrunConfig()).trained == ("base", "mid", "sft")
    assert pocket_recipe(SpeedrunConfig(rl=True)).trained[-1] == "rl"


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_processes_share_the_rows_of_every_stage(count: int) -> None:
    plain = pocket_recipe(SpeedrunConfig())
    shared = plain.for_processes(count)
    for name in ("base", "mid", "sft"):
        before, after = getattr(plain, name), getattr(shared, name)
        assert after.total_batch_size == before.total_batch_size
        assert after.micro_steps(plain.base.sequence_len, after.total_batch_size, count) >= 1
        assert after.device_batch_size <= before.device_batch_size
    assert plain.for_processes(1) == plain


@pytest.mark.parametrize(("count", "fitting"), [(3, 2), (6, 4), (64, 8)])
def test_processes_that_cannot_share_them_are_refused(count: int, fitting: int) -> None:
    with pytest.raises(UsageError, match=f"{count} processes cannot share the 8 to 16 rows") as caught:
        pocket_recipe(SpeedrunConfig()).for_processes(count)
    assert caught.value.hint == f"take {fitting} processes (--nproc {fitting} on one machine)"
    pocket_recipe(SpeedrunConfig()).for_processes(fitting)
