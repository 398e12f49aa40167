"""The reference system's pickled tokenizer, and pickles that want more than to be one."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.tokenizer.pickled import read_pickled_tokenizer

RANKS = {bytes([byte]): byte for byte in range(256)}
SPECIAL = {"<|bos|>": 256, "<|user_start|>": 257}


def pickled(tmp_path: Path, value: Any, protocol: int = 4) -> Path:
    path = tmp_path / "tokenizer.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def encoding(**changes: Any) -> tiktoken.Encoding:
    fields = {"name": "x", "pat_str": r"\w+|\W+", "mergeable_ranks": RANKS, "special_tokens": SPECIAL, **changes}
    made = tiktoken.Encoding(**{**fields, "mergeable_ranks": RANKS, "special_tokens": SPECIAL})
    made._mergeable_ranks, made._special_tokens = fields["mergeable_ranks"], fields["special_tokens"]
    return made


class Harmful:
    """Runs a shell command when it is unpickled the usual way."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.mark}",)


def test_the_reference_file(test_data: Path) -> None:
    folder = test_data / "parity" / "tokenizer"
    tokenizer = read_pickled_tokenizer(folder / "tokenizer.pkl")
    expected = json.loads((folder / "expected.json").read_text())
    assert tokenizer.vocab_size == 1024
    assert tokenizer.pattern == expected["pattern"]
    assert {name: tokenizer.special(name) for name in expected["special_tokens"]} == expected["special_tokens"]
    for case in expected["encode"]:
        assert tokenizer.encode(case["text"]) == case["ids"]


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_any_encoding_keeps_its_own_pattern_and_special_tokens(tmp_path: Path, protocol: int) -> None:
    tokenizer = read_pickled_tokenizer(pickled(tmp_path, encoding(), protocol))
    assert (tokenizer.pattern, tokenizer.special_tokens) == (r"\w+|\W+", ("<|bos|>", "<|user_start|>"))
    assert tokenizer.encode("ab") == [97, 98]


@pytest.mark.parametrize("where", ["instead", "inside", "before"])
def test_harm_is_refused_and_does_not_happen(tmp_path: Path, where: str) -> None:
    mark = tmp_path / "harmed"
    harm = Harmful(mark)
    value = {"instead": harm, "inside": encoding(special_tokens={"<|bos|>": harm}), "before": [harm, encoding()]}[where]
    path = pickled(tmp_path, value)
    assert pickle.loads(path.read_bytes()) is not None
    assert mark.exists(), "the pickle is harmless: this test proves nothing"
    mark.unlink()
    with pytest.raises(UsageError, match=r"asks for \w+\.system; only a pickled tiktoken\.core\.Encoding"):
        read_pickled_tokenizer(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"ctiktoken.core\nEncoding.__init__\n.",
        b"ctiktoken\nEncoding\n.",
        b"ctiktoken.load\nload_tiktoken_bpe\n.",
        b"ccopyreg\n_reconstructor\n.",
    ],
)
def test_no_other_name_is_known(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "tokenizer.pkl"
    path.write_bytes(program)
    with pytest.raises(UsageError, match="asks for"):
        read_pickled_tokenizer(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle",
        pickle.dumps(encoding())[:-40],
        pickle.dumps([1, 2]),
        pickle.dumps(encoding(special_tokens={"<|bos|>": 300})),
        pickle.dumps(encoding(special_tokens={"<|bos|>": "256"})),
        pickle.dumps(encoding(mergeable_ranks={b"a": 0})),
        b"ctiktoken.core\nEncoding\n.",  # the class itself
        b"ctiktoken.core\nEncoding\n(I1\ntR.",  # called with an argument
        b"ctiktoken.core\nEncoding\n)R.",  # without a state
    ],
)
def test_what_is_no_tokenizer_is_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "tokenizer.pkl"
    path.write_bytes(data)
    with pytest.raises(DamagedError, match=r"tokenizer\.pkl"):
        read_pickled_tokenizer(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"tokenizer\.pkl"):
        read_pickled_tokenizer(tmp_path / "tokenizer.pkl")
