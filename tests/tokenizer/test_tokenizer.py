from __future__ import annotations

import base64
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.errors import DamagedError, MissingError, UsageError
from nanochat.tokenizer.special import PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer

GOLDEN = Path(__file__).parent.parent / "golden" / "tokenizer"
BYTES = Tokenizer({bytes([byte]): byte for byte in range(256)})
texts = st.text(st.characters(exclude_categories=["Cs"]))


def test_reference_encodings(tokenizer: Tokenizer, expected: dict[str, Any]) -> None:
    assert tokenizer.pattern == expected["pattern"]
    assert tokenizer.vocab_size == expected["vocab_size"]
    assert {name: tokenizer.special(name) for name in SPECIAL_TOKENS} == expected["special_tokens"]
    for case in expected["encode"]:
        assert tokenizer.encode(case["text"]) == case["ids"], case["text"]
        assert tokenizer.decode(case["ids"]) == case["text"]
    cases = expected["encode"]
    assert tokenizer.encode_batch([case["text"] for case in cases], 2) == [case["ids"] for case in cases]


@given(texts)
def test_decode_undoes_encode(text: str) -> None:
    tokenizer = golden()
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    lengths = tokenizer.token_bytes()
    assert sum(lengths[token] for token in ids) == len(text.encode())


@given(st.lists(st.sampled_from([*SPECIAL_TOKENS, "<|endoftext|>", "<|", "|>", " ", "bos"])).map("".join))
def test_text_never_becomes_a_special_token(text: str) -> None:
    tokenizer = golden()
    assert all(token < tokenizer.bos for token in tokenizer.encode(text))


@functools.cache
def golden() -> Tokenizer:
    """The golden vocabulary, for tests that hypothesis runs many times."""
    lines = (GOLDEN / "ranks.tiktoken").read_text(encoding="ascii").splitlines()
    return Tokenizer({base64.b64decode(token): int(rank) for token, rank in map(str.split, lines)})


def test_token_bytes_are_zero_for_special_tokens(tokenizer: Tokenizer) -> None:
    lengths = tokenizer.token_bytes()
    assert len(lengths) == tokenizer.vocab_size
    assert lengths[tokenizer.bos :] == [0] * len(SPECIAL_TOKENS)
    assert min(lengths[: tokenizer.bos]) == 1


def test_a_cut_character_decodes_to_a_replacement_and_exact_bytes() -> None:
    assert BYTES.decode([0xE2, 0x82]) == "\ufffd"
    assert BYTES.decode_bytes([0xE2, 0x82]) == b"\xe2\x82"
    assert BYTES.decode([BYTES.bos]) == "<|bos|>"


@pytest.mark.parametrize("wrong", [-1, 265, 1 << 40])
def test_unknown_ids_are_named(wrong: int) -> None:
    with pytest.raises(UsageError, match=str(wrong)):
        BYTES.decode([97, wrong])
    with pytest.raises(UsageError):
        BYTES.special("<|endoftext|>")


@pytest.mark.parametrize("character", [" ", "\n", "x", "é"])
def test_very_long_runs(character: str) -> None:
    text = "a" + character * 1_200_000 + "b"
    assert BYTES.decode(BYTES.encode(text)) == text


@pytest.mark.parametrize(
    ("ranks", "special_tokens", "message"),
    [
        ({bytes([byte]): byte for byte in range(255)}, SPECIAL_TOKENS, "every single byte"),
        ({bytes([byte]): byte + 1 for byte in range(256)}, SPECIAL_TOKENS, "without gaps"),
        ({bytes([byte]): byte for byte in range(256)}, ("<|user_start|>",), "bos"),
        ({bytes([byte]): byte for byte in range(256)}, ("<|bos|>", "<|bos|>"), "differ"),
    ],
)
def test_impossible_vocabularies(ranks: dict[bytes, int], special_tokens: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tokenizer(ranks, PATTERN, special_tokens)


def test_fingerprint_tells_vocabularies_apart(tokenizer: Tokenizer) -> None:
    again = Tokenizer(tokenizer.ranks())
    assert again.fingerprint == tokenizer.fingerprint
    others = {
        BYTES.fingerprint,
        Tokenizer(tokenizer.ranks(), r"\S+|\s+").fingerprint,
        Tokenizer(tokenizer.ranks(), PATTERN, ("<|bos|>",)).fingerprint,
    }
    assert len(others | {tokenizer.fingerprint}) == 4


@pytest.fixture
def saved(tokenizer: Tokenizer, tmp_path: Path) -> Path:
    tokenizer.save(tmp_path / "tok")
    return tmp_path / "tok"


def test_save_and_load(tokenizer: Tokenizer, saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == ["ranks.tiktoken", "tokenizer.json"]
    assert (saved / "ranks.tiktoken").read_bytes() == (GOLDEN / "ranks.tiktoken").read_bytes()
    loaded = Tokenizer.load(saved)
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode("Hello world") == tokenizer.encode("Hello world")


def test_other_patterns_and_special_tokens_survive(tmp_path: Path) -> None:
    made = Tokenizer(BYTES.ranks(), r"\S+|\s+", ("<|bos|>", "<|é|>"))
    made.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.pattern, loaded.special_tokens) == (r"\S+|\s+", ("<|bos|>", "<|é|>"))


def test_a_missing_folder_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        Tokenizer.load(tmp_path / "nowhere")
    assert caught.value.hint == "nanochat tokenizer train"


@pytest.mark.parametrize("name", ["ranks.tiktoken", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "flipped", "noise"])
def test_damage_is_found_and_named(saved: Path, name: str, damage: str) -> None:
    path = saved / name
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": data[:-20], "flipped": flipped, "noise": b"\xff\0" * 99}[damage])
    with pytest.raises(DamagedError, match=name):
        Tokenizer.load(saved)


@pytest.mark.parametrize("key", ["format", "pattern", "special_tokens", "ranks_sha256", "fingerprint"])
@pytest.mark.parametrize("value", [None, 7, "x", [["x"]]])
def test_an_edited_header_is_damage(saved: Path, key: str, value: object) -> None:
    path = saved / "tokenizer.json"
    header = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**header, key: value}), encoding="utf-8")
    with pytest.raises((DamagedError, UsageError), match=r"tokenizer\.json|ranks\.tiktoken"):
        Tokenizer.load(saved)


def test_files_of_two_tokenizers_do_not_mix(saved: Path, tmp_path: Path) -> None:
    BYTES.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "ranks.tiktoken", saved)
    with pytest.raises(DamagedError, match=r"ranks\.tiktoken"):
        Tokenizer.load(saved)
