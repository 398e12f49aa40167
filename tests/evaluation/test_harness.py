"""Our models in lm_eval: what it finds is what we find on the same items."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles import random_model, tiny_tokenizer
from small_bundle import TASKS, write_bundle

from nanochat.checkpoints.store import save_checkpoint
from nanochat.evaluation.core.bundle import open_bundle
from nanochat.evaluation.core.questions import prompts, questions
from nanochat.evaluation.core.tree import TreeScorer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # lm_eval imports half of the world
    pytest.importorskip("lm_eval", reason="lm_eval is not installed: pip install 'nanochat[eval]'")
    from lm_eval.api.instance import Instance
    from lm_eval.api.registry import get_model, model_registry

    from nanochat.evaluation.harness import NanochatLM

MODEL = random_model("D", seed=5)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation with one random model."""
    base = tmp_path_factory.mktemp("base")
    save_checkpoint(
        base / "models" / "d3" / "base",
        7,
        model_state=MODEL.state_dict(),
        model_config=MODEL.config,
        tokenizer=tiny_tokenizer(),
        state={},
    )
    return base


@pytest.fixture(scope="module")
def model(base: Path) -> Any:
    return NanochatLM(model="d3:base", base_dir=str(base), device="cpu", batch_size=1)


def asked(kind: str, *requests: tuple[Any, ...]) -> list[Instance]:
    return [Instance(request_type=kind, doc={}, arguments=args, idx=at) for at, args in enumerate(requests)]


def test_it_is_called_nanochat() -> None:
    assert get_model("nanochat") is NanochatLM
    assert "hf" in model_registry  # lm_eval's own are there too


def test_a_damaged_checkpoint_is_told(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    stage_dir = tmp_path / "models" / "d3" / "base"
    shutil.copytree(stage_dir / "step_000007", stage_dir / "step_000008")
    (stage_dir / "step_000008" / "model.safetensors").write_bytes(b"short")
    with caplog.at_level("WARNING", "lm_eval"):
        NanochatLM(model="d3:base", base_dir=str(tmp_path), device="cpu")
    told = [record.message for record in caplog.records if record.name == "lm_eval.nanochat"]
    assert "step_000008" in told[0]
    assert told[1:] == ["using d3:base@7 instead"]


def test_choices_cost_what_they_cost_in_core(model: Any, tmp_path: Path) -> None:
    """The choices of each question, asked as lm_eval asks them, and as we do."""
    task = open_bundle(write_bundle(tmp_path)).tasks[0]
    items = TASKS["colours"][3]
    ours = TreeScorer(MODEL)
    for number in range(4):
        context = prompts(task, items, number)[0].removesuffix(f"{task.delimiter}{items[number]['choices'][0]}")
        requests = asked("loglikelihood", *((context, task.delimiter + text) for text in items[number]["choices"]))
        theirs = [value for value, _ in model.loglikelihood(requests, disable_tqdm=True)]
        scored = ours.score(questions(task, items, [number], tiny_tokenizer()))[0]
        # the beginning that all choices share ("\nAnswer: ") is counted by lm_eval and not by us: the same for all
        shifts = [value + row.nats for value, row in zip(theirs, scored, strict=True)]
        assert shifts == pytest.approx([shifts[0]] * len(shifts), rel=1e-4)
        totals = [-row.nats for row in scored]
        assert theirs.index(max(theirs)) == totals.index(max(totals))


def test_log_probabilities(model: Any) -> None:
    """Against the plain forward pass, also behind nothing, and behind a blank."""
    pairs = [("Some text", " goes on"), ("", "Some text"), ("Some ", "text"), ("Some text", " went")]
    found = model.loglikelihood(asked("loglikelihood", *pairs), disable_tqdm=True)
    tokenizer = tiny_tokenizer()
    for (context, text), (value, _) in zip(pairs, found, strict=True):
        ids = torch.tensor([[tokenizer.bos, *tokenizer.encode(context + text)]])
        with torch.no_grad():
            losses = MODEL(ids[:, :-1], ids[:, 1:], reduction="none")[0]
        scored = len(text) + (len(context) - len(context.rstrip()))
        assert value == pytest.approx(-float(losses[-scored:].sum()), rel=1e-4)


def test_a_whole_text_in_windows(model: Any) -> None:
    text = "All work and no play makes a dull day. " * 10
    (value,) = model.loglikelihood_rolling(asked("loglikelihood_rolling", (text,)), disable_tqdm=True)
    tokenizer = tiny_tokenizer()
    ids, size = [tokenizer.bos, *tokenizer.encode(text)], MODEL.config.sequence_len
    assert len(ids) > size + 1
    first = torch.tensor([ids[: size + 1]])
    rest = torch.tensor([ids[-size - 1 :]])  # the last window is as long as the first, and scored in part
    with torch.no_grad():
        expected = MODEL(first[:, :-1], first[:, 1:], reduction="sum")
        left = len(ids) - 1 - size
        expected = expected + MODEL(rest[:, :-1], rest[:, 1:], reduction="none")[0, -left:].sum()
    assert value == pytest.approx(-float(expected), rel=0.02)  # ours has a bos before every window


def test_it_answers_until_told(model: Any) -> None:
    def answer(text: str, **settings: Any) -> str:
        (said,) = model.generate_until(asked("generate_until", (text, settings)), disable_tqdm=True)
        return said

    whole = answer("A long prompt. " * 40, max_gen_toks=12)
    assert 0 < len(whole) <= 12
    letter = whole[2]
    assert answer("A long prompt. " * 40, max_gen_toks=12, until=[letter]) == whole[: whole.index(letter)]
