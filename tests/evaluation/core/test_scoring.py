"""The fast scorer against the slow one, over everything that could set them apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from doubles import random_model, tiny_tokenizer
from fleet import core_of_small_bundle, run_fleet
from small_bundle import write_bundle

from nanochat.evaluation.core import tree
from nanochat.evaluation.core.bundle import open_bundle
from nanochat.evaluation.core.evaluate import evaluate_core, evaluate_task, is_right
from nanochat.evaluation.core.questions import Question, Row, questions
from nanochat.evaluation.core.scoring import PlainScorer, Scored, cropped
from nanochat.evaluation.core.tree import TreeScorer
from nanochat.model.gpt import GPT
from nanochat.runtime.stop import CutShort


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle")


def twin(model: GPT) -> PlainScorer:
    return PlainScorer(lambda ids, there: model(ids), model.device, tokens=1)


def check_same(fast: list[list[Scored]], slow: list[list[Scored]]) -> None:
    assert [[s.tokens for s in rows] for rows in fast] == [[s.tokens for s in rows] for rows in slow]
    assert [[s.greedy for s in rows] for rows in fast] == [[s.greedy for s in rows] for rows in slow]
    for ours, theirs in zip(fast, slow, strict=True):
        assert [s.nats for s in ours] == pytest.approx([s.nats for s in theirs], rel=2e-5)


@pytest.mark.parametrize("era", ["A", "B", "C", "D"])
@pytest.mark.parametrize("tokens", [1, 700, 100_000])
def test_all_eras_in_passes_of_any_size(bundle: Path, era: str, tokens: int) -> None:
    """Windows of 128 are shorter than most of these prompts, one token a byte."""
    model, tokenizer = random_model(era), tiny_tokenizer()
    scorer = TreeScorer(model, tokens)
    for task in open_bundle(bundle).tasks:
        asked = questions(task, task.items, range(len(task.items)), tokenizer)
        fast: list[list[Scored]] = [[]] * len(asked)
        sizes = []
        for batch in scorer.passes(asked):
            sizes.append(len(batch))
            for at, scored in zip(batch, scorer.score([asked[at] for at in batch]), strict=True):
                fast[at] = scored
        assert (max(sizes) == 1) if tokens == 1 else (max(sizes) > 1)
        check_same(fast, [twin(model).score([question])[0] for question in asked])


@pytest.mark.parametrize("pattern", ["S", "SL"])
def test_prompts_beyond_all_windows_and_rotary_tables(pattern: str) -> None:
    """The beginning of a text that no score can depend on is not read; the model is left as it was."""
    model = random_model("D", sequence_len=64, window_pattern=pattern)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 256, (1500,), generator=generator).tolist()
    assert len(ids) > model.rotary_length
    asked = [
        Question((Row([*ids, 1, 2], 1500), Row([*ids, 3, 4, 5], 1500))),
        Question((Row(ids[:900], 890),)),
        Question((Row([*ids[:700], 9, *ids[:40]], 720), Row([*ids[:700], 7, 8, *ids[:40]], 721))),
    ]
    cos = model.cos
    fast = TreeScorer(model).score(asked)
    assert model.cos is cos
    assert not model.cos.is_inference()
    read = sum(tree._Tree(question, sum(filter(None, model.config.window_sizes()))).size for question in asked)
    assert read < 0.75 * sum(len(question.rows[0].ids) for question in asked)
    model.set_rotary(2000)
    check_same(fast, [twin(model).score([question])[0] for question in asked])


def test_half_a_pass_when_memory_ends(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = random_model("D"), tiny_tokenizer()
    task = open_bundle(bundle).tasks[0]
    whole = evaluate_task(TreeScorer(model), tokenizer, task)
    scorer, real, seen = TreeScorer(model, 100_000), TreeScorer._score, []

    def short_of_memory(self: TreeScorer, asked: list[Question]) -> list[list[Scored]]:
        seen.append(len(asked))
        if len(asked) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return real(self, asked)

    monkeypatch.setattr(TreeScorer, "_score", short_of_memory)
    assert evaluate_task(scorer, tokenizer, task) == whole
    assert max(seen) > 3 >= seen[-1]

    def always(self: TreeScorer, asked: list[Question]) -> list[list[Scored]]:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(TreeScorer, "_score", always)
    with pytest.raises(RuntimeError, match="allocate"):
        evaluate_task(scorer, tokenizer, task)


def test_processes_share_the_items(bundle: Path) -> None:
    model, tokenizer = random_model("D", seed=3), tiny_tokenizer()
    alone = evaluate_core(TreeScorer(model), tokenizer, open_bundle(bundle).tasks, max_per_task=7)
    assert 0 < sum(sum(task.correct) for task in alone.tasks) < sum(task.n for task in alone.tasks)
    assert run_fleet(2, core_of_small_bundle, bundle, False) == [alone, alone]


def test_a_stop_in_one_process_stops_all(bundle: Path) -> None:
    assert run_fleet(2, core_of_small_bundle, bundle, True) == ["cut short", "cut short"]
    model = random_model("D")
    with pytest.raises(CutShort):
        evaluate_core(TreeScorer(model), tiny_tokenizer(), open_bundle(bundle).tasks, stopped=lambda: True)


def test_progress_and_scores_are_told(bundle: Path) -> None:
    told: list[tuple[int, int, int]] = []
    names: list[str] = []
    tasks = open_bundle(bundle).tasks
    evaluate_core(
        TreeScorer(random_model("A"), 300),
        tiny_tokenizer(),
        tasks,
        max_per_task=4,
        on_score=lambda score: names.append(score.name),
        on_progress=lambda *values: told.append(values),
    )
    assert names == [task.name for task in tasks]
    assert [(number, total) for number, done, total in told if done == total] == [(at, 4) for at in range(4)]


def test_who_wins() -> None:
    dear, cheap, longer = Scored(3.0, 1, True), Scored(1.0, 1, False), Scored(1.5, 3, False)
    assert is_right([dear, cheap], 1, "multiple_choice")
    assert is_right([cheap, longer], 1, "schema")  # by token
    assert is_right([cheap, replace(cheap)], 0, "multiple_choice")  # the first of equals
    assert is_right([dear], 0, "language_modeling")
    assert not is_right([cheap], 0, "language_modeling")


def test_a_model_of_fixed_positions_loses_the_beginning() -> None:
    row = Row(list(range(10)), 8)
    assert cropped(row, None) == cropped(row, 10) == row
    assert cropped(row, 4) == Row([6, 7, 8, 9], 2)
    assert cropped(row, 2) == Row([8, 9], 1)
    model = random_model("A")
    seen: list[int] = []

    def logits(ids: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        seen.append(ids.size(1))
        return model(ids)

    short = PlainScorer(logits, model.device, longest=4)
    question = Question((row, Row([*range(9), 3], 8)))
    assert [s.tokens for s in short.score([question])[0]] == [2, 2]
    assert seen == [4]
