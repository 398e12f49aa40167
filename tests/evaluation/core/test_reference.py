"""The reference system's own results: 22 tasks, item by item."""

from __future__ import annotations

from pathlib import Path

import pytest
from core_model import core_model

from nanochat.evaluation.core.bundle import open_bundle
from nanochat.evaluation.core.evaluate import evaluate_core
from nanochat.evaluation.core.scoring import PlainScorer
from nanochat.evaluation.core.tree import TreeScorer


@pytest.mark.slow
def test_every_item_of_every_task(test_data: Path) -> None:
    """Prompts are up to four contexts long here. Two items may differ, by the noise of float32."""
    model, tokenizer, expected = core_model(test_data)
    bundle = open_bundle(test_data / "data" / "eval_bundle")
    result = evaluate_core(TreeScorer(model), tokenizer, bundle.tasks, max_per_task=expected["max_per_task"])
    assert [task.name for task in result.tasks] == list(expected["correct"])
    different = [
        (task.name, at)
        for task in result.tasks
        for at, (ours, theirs) in enumerate(zip(task.correct, expected["correct"][task.name], strict=True))
        if ours != bool(theirs)
    ]
    assert len(different) <= 2, different
    if not different:
        assert {task.name: task.centred for task in result.tasks} == pytest.approx(expected["centered"])
        assert result.value == pytest.approx(expected["core"])


def test_the_slow_twin_finds_the_same(test_data: Path) -> None:
    """Few items of all tasks, whose prompts are short then; and what each option costs."""
    model, tokenizer, _ = core_model(test_data)
    tasks = open_bundle(test_data / "data" / "eval_bundle").tasks
    twin = PlainScorer(lambda ids, there: model(ids), model.device, tokens=1)
    assert evaluate_core(TreeScorer(model), tokenizer, tasks, max_per_task=2) == evaluate_core(
        twin, tokenizer, tasks, max_per_task=2
    )


def test_published_scores(test_data: Path) -> None:
    published = open_bundle(test_data / "data" / "eval_bundle").published
    assert list(published) == ["GPT-2 124M", "GPT-2 medium", "GPT-2 large", "GPT-2 XL"]
    assert published["GPT-2 XL"]["CORE"] == 0.256525
    assert all(len(scores) == 23 for scores in published.values())
