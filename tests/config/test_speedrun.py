"""What a person may change about a preset reaches every stage of it."""

from __future__ import annotations

import pytest

from nanochat.config.speedrun import SpeedrunConfig, pocket_recipe


def test_machine_settings_and_seed_reach_every_stage() -> None:
    recipe = pocket_recipe(SpeedrunConfig(tag="mine", seed=7, threads=3, dtype="float32", compile="off"))
    for stage in (recipe.base, recipe.mid, recipe.sft):
        assert (stage.tag, stage.seed, stage.threads, stage.dtype, stage.compile) == ("mine", 7, 3, "float32", "off")


@pytest.mark.parametrize("scale", [0.001, 0.5, 2.0])
def test_scale_changes_the_length_of_every_stage_and_nothing_else(scale: float) -> None:
    plain, scaled = pocket_recipe(SpeedrunConfig()), pocket_recipe(SpeedrunConfig(scale=scale))
    for name in ("base", "mid", "sft"):
        before, after = getattr(plain, name), getattr(scaled, name)
        assert after.num_steps == max(1, round(before.num_steps * scale))
        assert after.total_batch_size == before.total_batch_size
    assert plain.tokenizer == scaled.tokenizer
