"""Patterns as Hugging Face reads them. What they match there is tested with whole tokenizers, in test_export."""

from __future__ import annotations

import pytest

from nanochat.errors import UsageError
from nanochat.tokenizer.oniguruma import to_oniguruma
from nanochat.tokenizer.special import PATTERN


@pytest.mark.parametrize(
    ("pattern", "translated"),
    [
        (PATTERN, PATTERN),
        (r"\S+|\s+", r"\S+|\s+"),
        (r"\p{N}{1,3}+", r"(?>\p{N}{1,3})"),
        (r"[a-c]{2}+x", r"(?>[a-c]{2})x"),
        (r"(?:ab|(c)){1,2}+d", r"(?>(?:ab|(c)){1,2})d"),
        (r"a(b{1,2}+c){3,}+", r"a(?>((?>b{1,2})c){3,})"),
        (r"\s++$|^a", r"\s++\z|\Aa"),
        (r"[\]$^+]{1,2}?", r"[\]$^+]{1,2}?"),
    ],
)
def test_translations(pattern: str, translated: str) -> None:
    assert to_oniguruma(pattern) == translated


@pytest.mark.parametrize(
    ("pattern", "at"),
    [
        (r"\w+", 0),
        (r"a|\bx", 2),
        (r"(a)\1", 3),
        (r"(?s:.)", 0),
        (r"(?<name>a)", 0),
        (r"x(?i:ss)", 5),
        ("[a[b]]", 2),
        ("[[:alpha:]]", 1),
        (r"[\s&&\S]", 3),
        ("[]a]", 0),
        ("[^]a]", 0),
        ("ab[c", 2),
        ("a{3}?", 1),
        ("a{,3}", 1),
        ("a)", 1),
        ("\\", 0),
    ],
)
def test_what_may_mean_something_else_is_refused(pattern: str, at: int) -> None:
    with pytest.raises(UsageError, match=f"at position {at} ") as caught:
        to_oniguruma(pattern)
    assert "--format tiktoken" in caught.value.hint
