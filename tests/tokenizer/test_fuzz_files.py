"""The reader of tokenizer files against files that were damaged at random: the same tokenizer or an error that names
the file, never another tokenizer and never another exception.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
from pathlib import Path

import pytest

from nanochat.errors import DamagedError, UsageError
from nanochat.tokenizer.tokenizer import HEADER_FILE, RANKS_FILE, Tokenizer

FUZZED = int(os.environ.get("NANOCHAT_SOAK_STRINGS", "10000")) // 20
SEED = int(os.environ.get("NANOCHAT_SOAK_SEED", "0"))

SNIPPETS = [
    b"", b"\0", b"\n", b" ", b"\r\n", b"\xff", b"{", b"}", b'"', b"[]", b"null", b"-1", b"1e999", b"9" * 20,
    b"NaN", b"7", b"\\ud800", b"(", b"[" * 100_000, b"AA==", b"====", b"\xc3", "\u0661".encode(),
]  # fmt: skip


def damaged(data: bytes, draw: random.Random) -> bytes:
    """One to three changes: bytes flipped, cut out, doubled, or a snippet put in."""
    for _ in range(draw.randint(1, 3)):
        start, end = sorted((draw.randint(0, len(data)), draw.randint(0, len(data))))
        end = min(end, start + draw.choice((0, 1, 4, 40, len(data))))
        middle = data[start:end]
        match draw.randint(0, 3):
            case 0:
                middle = bytes(byte ^ (1 << draw.randint(0, 7)) for byte in middle[:3]) + middle[3:]
            case 1:
                middle = b""
            case 2:
                middle *= 2
            case 3:
                middle = draw.choice(SNIPPETS)
        data = data[:start] + middle + data[end:]
    return data


def sealed(header: bytes, ranks: bytes) -> bytes:
    """The header with checksums that fit, so that reading goes on to what lies behind them."""
    try:
        fields = json.loads(header)
        fields["ranks_sha256"] = hashlib.sha256(ranks).hexdigest()
        settings = json.dumps([fields["pattern"], list(fields["special_tokens"])]).encode()
        fields["fingerprint"] = hashlib.sha256(settings + b"\n" + ranks).hexdigest()
        return json.dumps(fields).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return header


@pytest.fixture
def original(tmp_path: Path) -> tuple[Path, Tokenizer]:
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"abc"]
    tokenizer = Tokenizer({token: rank for rank, token in enumerate(tokens)})
    tokenizer.save(tmp_path)
    return tmp_path, tokenizer


def test_damaged_files(original: tuple[Path, Tokenizer]) -> None:
    folder, tokenizer = original
    files = {name: (folder / name).read_bytes() for name in (HEADER_FILE, RANKS_FILE)}
    draw = random.Random(SEED)
    read = 0
    for _ in range(FUZZED):
        changed = dict(files)
        for name in draw.choice(([HEADER_FILE], [RANKS_FILE], [HEADER_FILE, RANKS_FILE])):
            changed[name] = damaged(files[name], draw)
        with_seal = draw.random() < 0.7
        if with_seal:
            changed[HEADER_FILE] = sealed(changed[HEADER_FILE], changed[RANKS_FILE])
        for name, data in changed.items():
            (folder / name).write_bytes(data)
        try:
            loaded = Tokenizer.load(folder)
        except (DamagedError, UsageError) as error:
            assert str(folder) in error.message
            assert error.hint
            continue
        read += 1
        if with_seal:  # then it may be another one, but a whole one
            assert loaded.decode(loaded.encode("abc \u20ac")) == "abc \u20ac" or loaded.pattern != tokenizer.pattern
        else:
            assert loaded.fingerprint == tokenizer.fingerprint
    assert read


def test_base64_is_read_strictly(original: tuple[Path, Tokenizer]) -> None:
    folder, _ = original
    ranks = (folder / RANKS_FILE).read_bytes().replace(base64.b64encode(b"ab"), b"Y W I=")
    (folder / RANKS_FILE).write_bytes(ranks)
    (folder / HEADER_FILE).write_bytes(sealed((folder / HEADER_FILE).read_bytes(), ranks))
    with pytest.raises(DamagedError, match=RANKS_FILE):
        Tokenizer.load(folder)
