from __future__ import annotations

import array
import itertools
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat._rustbpe import BadUtf8, BpeTrainer
from nanochat.config.model import MIN_VOCAB
from nanochat.errors import DamagedError, UsageError
from nanochat.tokenizer.special import PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.train import TextBatch, TrainProgress, learn, train_tokenizer

THREES = PATTERN.replace("{1,2}", "{1,3}")
PATTERNS = [PATTERN, THREES, r"\p{L}+|[^\p{L}]+", r"[a-b]+|\d"]


def slow_merges(documents: list[str], num_merges: int, pattern: str = PATTERN) -> list[tuple[int, int]]:
    """The slow twin: thirty lines that count everything again before each merge."""
    chunks = Counter(chunk for document in documents for chunk in regex.findall(pattern, document))
    words = [(list(chunk.encode()), count) for chunk, count in chunks.items()]
    merges: list[tuple[int, int]] = []
    while len(merges) < num_merges:
        counts: Counter[tuple[int, int]] = Counter()
        for ids, count in words:
            for pair in itertools.pairwise(ids):
                counts[pair] += count
        if not counts:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        words = [(replaced(ids, best, 256 + len(merges)), count) for ids, count in words]
        merges.append(best)
    return merges


def replaced(ids: list[int], pair: tuple[int, int], new: int) -> list[int]:
    result = []
    position = 0
    while position < len(ids):
        if tuple(ids[position : position + 2]) == pair:
            result.append(new)
            position += 2
        else:
            result.append(ids[position])
            position += 1
    return result


def fast_merges(
    documents: list[str], num_merges: int, num_threads: int = 1, pattern: str = PATTERN
) -> list[tuple[int, int]]:
    trainer = BpeTrainer(pattern, num_threads)
    trainer.count(documents)
    return trainer.merge(num_merges)


# Few letters make ties and overlapping runs; the rest are the characters that trip splitters.
letters = st.text(st.sampled_from("aab bc"), max_size=40)
awkward = st.text(st.sampled_from("a 11'sſé\r\n\t\0🙂한\u00a0\u2028_-."), max_size=30)
# The reference knows newer characters than the tables of tiktoken and ours, so only those that Python knows too.
anything = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=20)


@settings(max_examples=1500, deadline=None)
@given(st.lists(letters | awkward | anything, max_size=8), st.integers(0, 60), st.sampled_from(PATTERNS))
def test_merges_equal_the_slow_twin(documents: list[str], num_merges: int, pattern: str) -> None:
    assert fast_merges(documents, num_merges, pattern=pattern) == slow_merges(documents, num_merges, pattern)


@pytest.mark.parametrize("word", ["a", "ab", "aab", "é", "한"])
@pytest.mark.parametrize("pattern", PATTERNS[:3])
def test_words_of_a_megabyte(word: str, pattern: str) -> None:
    giant = word * (1_000_000 // len(word.encode()))
    small = word * 300
    documents = [giant, small, "ab", ""]
    # The reference would take minutes. A word that repeats itself is merged alike at any length, up to a point.
    many, few = fast_merges(documents, 12, 2, pattern), slow_merges([small] * 4 + ["ab"], 6, pattern)
    assert many[:6] == few
    assert len(many) == 12


def test_counts_beyond_32_bits() -> None:
    trainer = BpeTrainer(PATTERN, 2)
    trainer.count(["ab"], 3_000_000_000)
    trainer.count(["ab"], 3_000_000_000)  # cut to 32 bits this is 1,705,032,704
    trainer.count(["cd"], 4_294_967_296 + 7)  # and this is 7
    trainer.count(["ef"], 2_000_000_000)
    assert trainer.total_bytes == 8
    assert trainer.merge(9) == [(97, 98), (99, 100), (101, 102)]
    with pytest.raises(OverflowError):
        trainer.count(["abcd"], 2**63)


def arrow_merges(
    batches: list[pa.Array], num_merges: int, doc_cap: int = 10**9, max_chars: int = 10**9
) -> tuple[list[tuple[int, int]], int, int]:
    """Merges, documents and characters."""
    trainer = BpeTrainer(PATTERN, 2)
    documents = chars = 0
    for batch in batches:
        validity, offsets, data = batch.buffers()
        read = trainer.count_arrow(
            data,
            offsets,
            validity,
            offset=batch.offset,
            length=len(batch),
            wide=pa.types.is_large_string(batch.type),
            doc_cap=doc_cap,
            max_chars=max_chars - chars,
        )
        documents, chars = documents + read[0], chars + read[1]
    return trainer.merge(num_merges), documents, chars


@settings(max_examples=300, deadline=None)
@given(
    st.lists(letters | awkward | anything | st.none(), max_size=12),
    st.sampled_from([pa.string(), pa.large_string()]),
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(1, 40),
    st.integers(1, 100),
)
def test_arrow_buffers_give_what_strings_give(
    documents: list[str | None], kind: pa.DataType, start: int, stop: int, doc_cap: int, max_chars: int
) -> None:
    column = pa.array(documents, kind)[start:stop]
    texts = [text or "" for text in documents[start:stop]]
    cut: list[str] = []
    for text in texts:
        left = max_chars - sum(map(len, cut))
        if left > 0:
            cut.append(text[: min(doc_cap, left)])
    batches = [column[:3], column[3:]]
    merges = fast_merges(cut, 30)
    assert arrow_merges(batches, 30, doc_cap, max_chars) == (merges, len(cut), sum(map(len, cut)))
    vocab_size = 265 + len(merges)
    from_arrow = learn([TextBatch(part, "f") for part in batches], vocab_size, doc_cap=doc_cap, max_chars=max_chars)
    from_texts = learn(texts, vocab_size, doc_cap=doc_cap, max_chars=max_chars)
    assert from_arrow.tokenizer.ranks() == from_texts.tokenizer.ranks()
    figures = [(got.documents, got.chars, got.bytes, got.unique_chunks) for got in (from_arrow, from_texts)]
    assert figures[0] == figures[1]


def test_bytes_that_are_not_utf8_are_named() -> None:
    bad = pa.array([b"good", b"a\xffb", b"fine"], pa.binary()).view(pa.string())
    with pytest.raises(DamagedError, match=r"some\.parquet: document 102 is not UTF-8 \(byte 1\)") as caught:
        train_tokenizer([TextBatch(bad, "some.parquet", 101)], 265)
    assert caught.value.hint
    trainer = BpeTrainer(PATTERN)
    with pytest.raises(BadUtf8) as bad_utf8:
        validity, offsets, data = bad.buffers()
        trainer.count_arrow(data, offsets, validity, offset=0, length=3, wide=False, doc_cap=99, max_chars=99)
    assert bad_utf8.value.args[1:] == (1, 1)
    assert (trainer.unique_chunks, trainer.total_bytes) == (0, 0)


@pytest.mark.parametrize(
    ("data", "offsets", "validity", "length"),
    [
        (b"abc", [0, 4], None, 1),
        (b"abc", [2, 1], None, 1),
        (b"abc", [-1, 2], None, 1),
        (b"abc", [0, 2], None, 2),
        (b"abc", [0, 2], b"", 1),
        (b"abc", [], None, 1),
        (None, [0, 2], None, 1),
        (b"abc", [0, 1], None, 2**60),
    ],
)
def test_buffers_that_do_not_fit_are_refused(
    data: bytes | None, offsets: list[int], validity: bytes | None, length: int
) -> None:
    trainer = BpeTrainer(PATTERN)
    places = array.array("i", offsets)
    with pytest.raises(ValueError, match="document"):
        trainer.count_arrow(data, places, validity, offset=0, length=length, wide=False, doc_cap=99, max_chars=99)
    with pytest.raises(ValueError, match="contiguous"):
        trainer.count_arrow(
            memoryview(b"abcdef")[::2], places, None, offset=0, length=1, wide=False, doc_cap=9, max_chars=9
        )
    assert trainer.total_bytes == 0


def test_other_arrays_are_refused() -> None:
    with pytest.raises(UsageError, match="int64"):
        train_tokenizer([TextBatch(pa.array([1, 2]), "f")], 265)


def test_figures_and_pace() -> None:
    seen: list[TrainProgress] = []
    learned = learn(["abcab é"] * 1000, 268, on_progress=seen.append)
    assert (learned.documents, learned.chars, learned.bytes, learned.unique_chunks) == (1000, 7000, 8000, 2)
    assert learned.counting_s > 0
    assert learned.merging_s > 0
    assert {at.phase for at in seen} == {"read", "merge"}
    assert all(at.bytes_read == 8000 and at.bytes_per_s > 0 for at in seen)
    assert seen[-1].left_s == 0
    assert seen[0].left_s is not None


def test_equal_counts_go_to_the_lower_pair_of_ids() -> None:
    assert fast_merges(["yz", "ab", "ac"], 2) == [(97, 98), (97, 99)]


def test_the_reference_vocabulary(corpus: list[str], expected_ranks: dict[bytes, int]) -> None:
    assert train_tokenizer(corpus, 1024).ranks() == expected_ranks


@pytest.mark.parametrize("num_threads", [1, 2, 8])
def test_threads_batches_and_order_change_nothing(corpus: list[str], num_threads: int) -> None:
    trainer = BpeTrainer(PATTERN, num_threads)
    for start in range(0, len(corpus), 50):
        trainer.count(corpus[::-1][start : start + 50])
    assert trainer.merge(400) == fast_merges(corpus, 400)


def test_what_was_counted(corpus: list[str]) -> None:
    trainer = BpeTrainer(PATTERN)
    assert (trainer.unique_chunks, trainer.total_bytes) == (0, 0)
    trainer.count(["a a é", ""])
    assert (trainer.unique_chunks, trainer.total_bytes) == (3, 6)
    with pytest.raises(UnicodeEncodeError):
        trainer.count(["b", "\ud800"])
    assert (trainer.unique_chunks, trainer.total_bytes) == (3, 6)


def test_an_exception_in_the_callback_ends_training(corpus: list[str]) -> None:
    def stop(made: int) -> None:
        if made:
            raise KeyboardInterrupt

    trainer = BpeTrainer(PATTERN)
    trainer.count(corpus)
    with pytest.raises(KeyboardInterrupt):
        trainer.merge(700, stop)
    assert len(trainer.merge(700)) == 700


def test_progress_is_reported(corpus: list[str]) -> None:
    seen: list[TrainProgress] = []
    train_tokenizer(corpus, 400, on_progress=seen.append)
    assert [event.phase for event in seen][:2] == ["read", "merge"]
    assert seen[-1] == TrainProgress("merge", 135, 135)


def test_caps_on_documents_and_in_total() -> None:
    drawn = 0

    def endless() -> Iterator[str]:
        nonlocal drawn
        while True:
            drawn += 1
            yield "abab" + "z" * 50

    tokenizer = train_tokenizer(endless(), 266, doc_cap=4, max_chars=10)
    assert drawn == 3
    assert tokenizer.encode("ab") == [256]


@pytest.mark.parametrize("vocab_size", [-1, 0, 264])
def test_too_small_a_vocabulary(vocab_size: int) -> None:
    with pytest.raises(UsageError, match="at least 265") as caught:
        train_tokenizer(["text"], vocab_size)
    assert caught.value.hint


def test_the_smallest_vocabulary_is_bytes() -> None:
    tokenizer = train_tokenizer([], 265)
    assert tokenizer.vocab_size == 256 + len(SPECIAL_TOKENS)
    assert tokenizer.encode("é") == [0xC3, 0xA9]


def test_too_little_text_says_what_is_possible() -> None:
    with pytest.raises(UsageError, match="only 3 merges") as caught:
        train_tokenizer(["abcd"], 300)
    assert "268" in caught.value.hint
    assert train_tokenizer(["abcd"], 268).encode("abcd") == [258]


@pytest.mark.parametrize("limits", [{"max_chars": 0}, {"doc_cap": 0}])
def test_limits_must_be_positive(limits: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        train_tokenizer(["text"], 300, **limits)


def test_a_broken_pattern_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="pattern"):
        train_tokenizer(["text"], 300, pattern="(")


def test_a_document_the_pattern_cannot_split_is_a_usage_error() -> None:
    spaces = " " * 2_000_000
    with pytest.raises(UsageError, match="pattern failed") as caught:
        train_tokenizer([spaces], 300, doc_cap=2_000_000, pattern=PATTERN + "|x")
    assert "--doc-cap" in caught.value.hint
    # our own pattern has no such limit
    assert train_tokenizer([spaces], 270, doc_cap=2_000_000).encode(" " * 32) == [260]


def test_lone_surrogates_become_replacement_characters() -> None:
    tokenizer = train_tokenizer(["a\ud800", "ok"], 267)
    assert tokenizer.decode(tokenizer.encode("a\ud800")) == "a\ufffd"


def test_the_least_vocabulary_is_bytes_and_special_tokens() -> None:
    assert MIN_VOCAB == 256 + len(SPECIAL_TOKENS) == train_tokenizer([], MIN_VOCAB).vocab_size
