from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nanochat.checkpoints.store import save_checkpoint
from nanochat.config.chat import SamplingConfig
from nanochat.engine.load import load_engine
from nanochat.errors import MissingError
from nanochat.model.gpt import GPT
from nanochat.runtime.paths import Paths
from nanochat.tokenizer.tokenizer import Tokenizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
def test_a_saved_model_answers(tmp_path: Path, model: GPT, tokenizer: Tokenizer, dtype: torch.dtype) -> None:
    paths = Paths(base=tmp_path, cache=tmp_path / "cache")
    save_checkpoint(
        paths.model_dir("tiny", "sft"),
        7,
        model_state=model.state_dict(),
        model_config=model.config,
        tokenizer=tokenizer,
        state={},
    )
    engine, checkpoint = load_engine(paths, "tiny:sft", "cpu", dtype)
    assert checkpoint.step == 7
    assert engine.model.compute_dtype == (torch.bfloat16 if dtype == torch.int8 else dtype)
    ids = [tokenizer.bos, *b"hello"]
    tolerance = 1e-5 if dtype == torch.float32 else 1.5
    with torch.inference_mode():
        expected = model(torch.tensor([ids]))[0, -1]
    torch.testing.assert_close(engine.next_logits([ids])[0], expected, atol=tolerance, rtol=0)
    (completion,) = engine.generate_batch([ids], SamplingConfig(temperature=0, max_new_tokens=4))
    assert len(completion.tokens) <= 4


def test_no_model_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        load_engine(Paths(base=tmp_path, cache=tmp_path))
