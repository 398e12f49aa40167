"""The encoder against tiktoken, its peer: the same ids for every text."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiktoken
from fuzzed import KINDS, LONG, strings
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat._rustbpe import BpeEncoder
from nanochat.errors import UsageError
from nanochat.tokenizer.conversation import Conversation, Message, Part
from nanochat.tokenizer.render import render
from nanochat.tokenizer.special import PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tokenizer.train import train_tokenizer

# The soak script sets a million.
FUZZED = int(os.environ.get("NANOCHAT_SOAK_STRINGS", "10000"))
SEED = int(os.environ.get("NANOCHAT_SOAK_SEED", "0"))
# The soak script sets 1: every document. CI reads every so manieth.
EVERY = int(os.environ.get("NANOCHAT_SOAK_EVERY", "20"))

GPT4_PATTERN = PATTERN.replace(r"\p{N}{1,2}", r"\p{N}{1,3}")


@pytest.fixture(scope="module", params=[PATTERN, GPT4_PATTERN, r"\p{L}+|[^\p{L}]+"], ids=["ours", "threes", "other"])
def pair(request: pytest.FixtureRequest, corpus: list[str]) -> tuple[Tokenizer, tiktoken.Encoding]:
    """A tokenizer and its peer. It has long tokens too, of letters and spaces, and some that no merge makes."""
    trained = train_tokenizer([*corpus, "a" * 4000, " " * 4000], 2000, pattern=request.param)
    tokens = [*trained.ranks(), b"unmergeable", " 🙂🙂".encode(), b"\xff\xfe"]
    ours = Tokenizer({token: rank for rank, token in enumerate(tokens)}, request.param)
    return ours, peer_of(ours)


def peer_of(tokenizer: Tokenizer) -> tiktoken.Encoding:
    return tiktoken.Encoding("peer", pat_str=tokenizer.pattern, mergeable_ranks=tokenizer.ranks(), special_tokens={})


def compare(ours: Tokenizer, peer: tiktoken.Encoding, texts: list[str], num_threads: int = 0) -> None:
    ids, offsets = ours.encode_arrays(texts, num_threads)
    expected = [peer.encode_ordinary(text) for text in texts]
    assert ids.dtype == np.uint32
    assert offsets.dtype == np.int64
    assert len(offsets) == len(texts) + 1
    for text, start, end, wanted in zip(texts, offsets[:-1].tolist(), offsets[1:].tolist(), expected, strict=True):
        found = ids[start:end].tolist()
        assert found == wanted, f"{text[:200]!r}"
    assert not len(ids) or ids.max() < ours.bos, "text became a special token"


def test_fuzzed_strings(pair: tuple[Tokenizer, tiktoken.Encoding]) -> None:
    batch: list[str] = []
    for text in strings(FUZZED, SEED):
        batch.append(text)
        if len(batch) == 5000:
            compare(*pair, batch)
            batch = []
    compare(*pair, batch)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_single_texts_are_as_batches(pair: tuple[Tokenizer, tiktoken.Encoding], kind: object) -> None:
    draw = random.Random(SEED)
    for _ in range(30):
        text = kind(draw)  # type: ignore[operator]
        assert pair[0].encode(text) == pair[1].encode_ordinary(text), repr(text)


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    ours, peer = small()
    assert ours.encode(text) == peer.encode_ordinary(text)


_SMALL: list[tuple[Tokenizer, tiktoken.Encoding]] = []


def small() -> tuple[Tokenizer, tiktoken.Encoding]:
    if not _SMALL:
        ours = train_tokenizer(["the cat sat on the mat, 123 times; Ωμέγα " * 9, "  \n\n"], 290)
        _SMALL.append((ours, peer_of(ours)))
    return _SMALL[0]


@pytest.mark.parametrize("name", LONG)
def test_long_chunks(pair: tuple[Tokenizer, tiktoken.Encoding], name: str) -> None:
    ours, peer = pair
    text = LONG[name]
    # the peer's regular expressions give up on longer runs
    compare(ours, peer, [text[:200_000], text[1:50_001] + "x" + text[:999]])
    assert ours.decode(ours.encode(text)) == text


def documents(test_data: Path) -> Iterable[list[str]]:
    for path in sorted((test_data / "data" / "base_data").glob("*.parquet")):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=["text"]).column("text").to_pylist()[::EVERY]


@pytest.fixture(scope="module")
def large(test_data: Path) -> tuple[Tokenizer, tiktoken.Encoding]:
    ours = train_tokenizer((text for group in documents(test_data) for text in group), 8192)
    return ours, peer_of(ours)


def test_base_data(large: tuple[Tokenizer, tiktoken.Encoding], test_data: Path) -> None:
    for group in documents(test_data):
        compare(*large, group)


def test_multilingual(large: tuple[Tokenizer, tiktoken.Encoding], test_data: Path) -> None:
    with gzip.open(test_data / "data" / "multilingual.jsonl.gz", "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    compare(*large, texts[:: max(1, EVERY // 4)])


@pytest.mark.parametrize("num_threads", [0, 1, 2, 5])
def test_threads_change_nothing(pair: tuple[Tokenizer, tiktoken.Encoding], num_threads: int) -> None:
    texts = ["", *strings(2000, 5), "word " * 300_000, ""]  # more than one thread is given at a time
    compare(*pair, texts, num_threads)
    assert pair[0].encode_batch(texts, num_threads) == pair[0].encode_batch(texts)


def test_no_texts(tokenizer: Tokenizer) -> None:
    ids, offsets = tokenizer.encode_arrays([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    assert tokenizer.encode_batch(iter([])) == []
    assert tokenizer.encode("") == []


def test_arrays_are_ordinary(tokenizer: Tokenizer) -> None:
    ids, offsets = tokenizer.encode_arrays(["Hello world", "Hello"])
    kept = ids.copy()
    del offsets
    assert ids.flags.writeable
    assert ids.tolist() == kept.tolist() == tokenizer.encode("Hello world") + tokenizer.encode("Hello")


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_columns(tokenizer: Tokenizer, dtype: type) -> None:
    texts = [text.encode(errors="replace").decode() for text in strings(500, 9)]
    data = np.frombuffer(b"xyz" + "".join(texts).encode(), np.uint8)
    offsets = np.cumsum([3, *(len(text.encode()) for text in texts)]).astype(dtype)
    found = tokenizer.encode_column(data, offsets)
    expected = tokenizer.encode_arrays(texts)
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("data", "offsets", "message"),
    [
        (b"ok\xff", [0, 2, 3], "document 1 is not UTF-8 at byte 0"),
        ("é".encode(), [0, 1, 2], "document 0 is not UTF-8 at byte 0"),
        ("aé".encode()[:-1], [0, 2], "document 0 is not UTF-8 at byte 1"),
        (b"\xed\xa0\x80", [0, 3], "document 0 is not UTF-8 at byte 0"),
        (b"abc", [0, 4], "they end at 4, the data at 3"),
        (b"abc", [2, 1], "must grow"),
        (b"abc", [-1, 1], "must grow"),
        (b"abc", [], "there is none"),
    ],
)
def test_bad_columns_are_named(tokenizer: Tokenizer, data: bytes, offsets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokenizer.encode_column(np.frombuffer(data, np.uint8), np.array(offsets, np.int64))


def test_what_is_no_column_is_an_error(tokenizer: Tokenizer) -> None:
    data, offsets = np.zeros(3, np.uint8), np.array([0, 3])
    for wrong in ("text", None, data.astype(np.float32)):
        with pytest.raises((TypeError, BufferError)):
            tokenizer.encode_column(wrong, offsets)  # type: ignore[arg-type]
    with pytest.raises((TypeError, BufferError)):
        tokenizer.encode_column(data, offsets.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        tokenizer.encode_batch(["a", 3])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        tokenizer.encode(b"bytes")  # type: ignore[arg-type]


BYTES = [bytes([byte]) for byte in range(256)]


@pytest.mark.parametrize(
    ("tokens", "pattern", "message"),
    [
        (BYTES[:255], PATTERN, "the byte 255 is no token"),
        ([*BYTES, b"ab", b"ab"], PATTERN, "tokens 256 and 257 are the same bytes"),
        ([*BYTES, b""], PATTERN, "token 256 is empty"),
        (BYTES, "(", "pattern"),
    ],
)
def test_what_is_no_vocabulary_is_named(tokens: list[bytes], pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BpeEncoder(tokens, pattern)


def test_decode_of_arrays_and_lists(tokenizer: Tokenizer) -> None:
    text = "Hello wörld, 한국 🙂"
    ids = tokenizer.encode(text)
    for dtype in (np.uint32, np.int64, np.int32, np.uint16):
        assert tokenizer.decode(np.array(ids, dtype)) == text
    assert tokenizer.decode(tuple(ids)) == text
    assert tokenizer.decode([]) == tokenizer.decode(np.array([], np.int64)) == ""
    for wrong in (-1, tokenizer.vocab_size, 1 << 32, 1 << 62, 1 << 70):
        for ids in ([5, wrong], np.array([5, wrong], object if wrong > 1 << 62 else np.int64)):
            with pytest.raises(UsageError, match=str(wrong)):
                tokenizer.decode(ids)


look_alikes = st.lists(
    st.sampled_from([*SPECIAL_TOKENS, "<|", "|>", "bos", " ", "\n"]) | st.text(max_size=4), max_size=9
)


@settings(deadline=None)
@given(look_alikes.map("".join), look_alikes.map("".join))
def test_no_conversation_adds_special_tokens(text: str, other: str) -> None:
    ours, _ = small()
    conversation = Conversation(
        (
            Message.text("system", text),
            Message.text("user", other),
            Message("assistant", (Part("python", text), Part("output", other), Part("text", text))),
        )
    )
    special = [token for token in render(ours, conversation)[0] if token >= ours.bos]
    layout = "bos user_start user_end assistant_start python_start python_end output_start output_end assistant_end"
    assert special == [ours.special(f"<|{name}|>") for name in layout.split()]


def fastest(run: object, repeat: int = 3) -> float:
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.mark.parametrize("name", ["letters", "spaces", "random bytes", "random characters", "random letters"])
def test_time_is_linear(tokenizer: Tokenizer, name: str) -> None:
    """Twice the text takes twice the time. A quadratic way would take four times in every one of the tries, another
    program on the machine disturbs some.
    """
    text = LONG[name]
    once, twice = text[:100_000], text[:100_000] * 2
    ratios = []
    for _ in range(20):
        ratios.append(fastest(lambda: tokenizer.encode(twice)) / fastest(lambda: tokenizer.encode(once)))
        if ratios[-1] <= 2.3:
            return
    pytest.fail(f"time(2n)/time(n) = {min(ratios):.2f} at best")
