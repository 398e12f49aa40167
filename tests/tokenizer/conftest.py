"""The reference answers, and a tokenizer of ours trained on the same corpus."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.tokenizer.tokenizer import Tokenizer

GOLDEN = Path(__file__).parent.parent / "golden" / "tokenizer"


@pytest.fixture(scope="session")
def expected() -> dict[str, Any]:
    return json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    return json.loads((GOLDEN / "corpus.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def expected_ranks() -> dict[bytes, int]:
    lines = (GOLDEN / "ranks.tiktoken").read_text(encoding="ascii").splitlines()
    return {base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)}


@pytest.fixture(scope="session")
def tokenizer(expected_ranks: dict[bytes, int]) -> Tokenizer:
    return Tokenizer(expected_ranks)
