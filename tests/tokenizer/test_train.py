from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from nanochat._rustbpe import BpeTrainer
from nanochat.errors import UsageError
from nanochat.tokenizer.special import PATTERN, SPECIAL_TOKENS
from nanochat.tokenizer.train import TrainProgress, train_tokenizer


def slow_merges(documents: list[str], num_merges: int) -> list[tuple[int, int]]:
    """The slow twin: thirty lines that count everything again before each merge."""
    chunks = Counter(chunk for document in documents for chunk in regex.findall(PATTERN, document))
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


def fast_merges(documents: list[str], num_merges: int, num_threads: int = 1) -> list[tuple[int, int]]:
    trainer = BpeTrainer(PATTERN, num_threads)
    trainer.count(documents)
    return trainer.merge(num_merges)


# Few letters make ties and overlapping runs; the rest are the characters that trip splitters.
letters = st.text(st.sampled_from("aab bc"), max_size=40)
awkward = st.text(st.sampled_from("a 1'sé\r\n\t\0🙂한\u00a0\u2028_-."), max_size=30)
# no unassigned ones: the twin's Unicode is a newer one, which makes letters of some
anything = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=20)


@settings(max_examples=200, deadline=None)
@given(st.lists(letters | awkward | anything, max_size=8), st.integers(0, 60))
def test_merges_equal_the_slow_twin(documents: list[str], num_merges: int) -> None:
    assert fast_merges(documents, num_merges) == slow_merges(documents, num_merges)


def test_equal_counts_go_to_the_lower_pair_of_ids() -> None:
    assert fast_merges(["yz", "ab", "ac"], 2) == [(97, 98), (97, 99)]


def test_the_reference_vocabulary(corpus: list[str], expected_ranks: dict[bytes, int]) -> None:
    assert train_tokenizer(corpus, 1024).ranks() == expected_ranks


@pytest.mark.parametrize("num_threads", [1, 2, 5])
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
    with pytest.raises(UsageError, match="pattern failed") as caught:
        train_tokenizer([" " * 2_000_000], 300, doc_cap=2_000_000)
    assert "--doc-cap" in caught.value.hint


def test_lone_surrogates_become_replacement_characters() -> None:
    tokenizer = train_tokenizer(["a\ud800", "ok"], 267)
    assert tokenizer.decode(tokenizer.encode("a\ud800")) == "a\ufffd"
