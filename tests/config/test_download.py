"""The dials of a download."""

from __future__ import annotations

import pytest

from nanochat.config.download import DownloadConfig, parse_shards
from nanochat.errors import UsageError


def test_shards() -> None:
    assert parse_shards("8") == range(8)
    assert parse_shards("10-20") == range(10, 21)
    assert parse_shards("3-3") == range(3, 4)


@pytest.mark.parametrize("text", ["0", "-3", "5-2", "1-", "-", "a", "1.5", "1-2-3", "²"])
def test_no_shards(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number of shards"):
        parse_shards(text)


def test_the_depth_of_a_model() -> None:
    assert [DownloadConfig(for_model=text).depth for text in ("d20", "20", "")] == [20, 20, 0]


@pytest.mark.parametrize(
    "settings", [{"for_model": "d0"}, {"for_model": "x"}, {"for_model": "d4", "shards": "3"}, {"workers": 0}]
)
def test_settings_that_cannot_be(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        DownloadConfig(**settings)  # type: ignore[arg-type]
