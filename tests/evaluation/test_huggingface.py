"""Hugging Face models, made on the spot: scored as ours are."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hf_models import TEXT, write_model

from nanochat.errors import MissingError, UsageError
from nanochat.evaluation.core.questions import Question, Row
from nanochat.evaluation.core.scoring import PlainScorer
from nanochat.evaluation.huggingface import HuggingFaceModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("gpt2"))


def load(folder: Path) -> HuggingFaceModel:
    return HuggingFaceModel.load(str(folder), "cpu", torch.float32)


def losses(model: HuggingFaceModel, ids: list[int]) -> torch.Tensor:
    """Nats of every token but the first, by the model's own forward pass."""
    logits = model._model(input_ids=torch.tensor([ids[:-1]])).logits[0]
    return -logits.log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0]


def test_scores_are_those_of_the_model_itself(folder: Path) -> None:
    model = load(folder)
    (short, long) = model.encode_batch(["red green", "red green blue grey pink"])
    assert (short, model.bos) == ([2, 3], 1)
    question = Question((Row([1, *short, 4], 2), Row([1, *long], 3)))
    scorer = PlainScorer(model.logits, model.device, longest=model.longest)
    with torch.no_grad():
        for scored, row in zip(scorer.score([question])[0], question.rows, strict=True):
            expected = losses(model, row.ids)[row.start - 1 :]
            assert scored.nats == pytest.approx(float(expected.sum()), rel=1e-4)
            assert scored.tokens == len(expected)


def test_fixed_positions_are_told_from_relative_ones(folder: Path, tmp_path: Path) -> None:
    assert load(folder).longest == 16
    llama = load(write_model(tmp_path, "llama"))
    assert (llama.longest, llama.window) == (None, 16)
    row = Row([1] + [2, 3, 4, 5] * 6, 20)
    (scored,) = PlainScorer(llama.logits, llama.device, longest=llama.longest).score([Question((row,))])[0]
    with torch.no_grad():
        assert scored.nats == pytest.approx(float(losses(llama, row.ids)[19:].sum()), rel=1e-4)
    gpt2 = load(folder)
    (cut,) = PlainScorer(gpt2.logits, gpt2.device, longest=gpt2.longest).score([Question((row,))])[0]
    with torch.no_grad():
        assert cut.nats == pytest.approx(float(losses(gpt2, row.ids[-16:])[-5:].sum()), rel=1e-4)


def test_bits_per_byte_in_windows(folder: Path) -> None:
    model = load(folder)
    text = " ".join([TEXT] * 3)  # 24 tokens, in windows of 16 and 8
    (tally, other) = model.tallies([text, "red"])
    ids = [1, *model.encode_batch([text])[0]]
    with torch.no_grad():
        expected = losses(model, ids[:17]).sum() + losses(model, ids[16:]).sum()
    assert tally.nats == pytest.approx(float(expected), rel=1e-4)
    assert (tally.bytes, other.bytes) == (len(text), 3)
    assert math.isfinite(tally.bits_per_byte)


def test_it_goes_on(folder: Path) -> None:
    model = load(folder)
    assert len(model.go_on(" ".join([TEXT] * 3), 40).split()) <= 8  # half of the positions
    said = model.go_on("red green", 4)
    assert set(said.split()) <= set(TEXT.split()) | {"<unk>"}
    assert said == model.go_on("red green", 4)


def test_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match=r"no config\.json"):
        load(tmp_path)
    with pytest.raises(MissingError, match="cannot be loaded"):
        HuggingFaceModel.load(str(tmp_path / "nowhere"), "cpu", torch.float32)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be loaded"):
        load(tmp_path)
    with pytest.raises(UsageError, match="neither a bos"):
        load(write_model(tmp_path / "none", bos=False))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingError, match="not installed") as caught:
        load(tmp_path)
    assert "nanochat[hf]" in caught.value.hint
