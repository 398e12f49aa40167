"""The small trained model of the reference numbers for CORE and bits per byte."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from nanochat.config.model import era_config
from nanochat.model.gpt import GPT
from nanochat.tokenizer.tokenizer import Tokenizer


def core_model(test_data: Path) -> tuple[GPT, Tokenizer, dict[str, Any]]:
    """Model, tokenizer and what is expected of them."""
    core = test_data / "parity" / "core"
    expected = json.loads((core / "expected.json").read_text())
    model = GPT(era_config(expected["era"], **expected["model_config"]))
    model.load_state_dict(load_file(core / "weights.safetensors"))
    lines = (test_data / expected["tokenizer"]).read_text(encoding="ascii").splitlines()
    tokenizer = Tokenizer({base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)})
    return model.eval(), tokenizer, expected
