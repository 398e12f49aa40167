"""What `train rl` can be told, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nanochat.config.fields import options_of
from nanochat.config.rewards import RewardPart, parse_rewards
from nanochat.config.rl import RlConfig
from nanochat.errors import UsageError


def test_dials_of_other_stages_are_no_flags() -> None:
    names = {spec.name for spec in options_of(RlConfig)}
    assert not names & {"total_batch_size", "eval_tokens", "skip_spikes", "data", "val_data"}
    assert {"examples", "samples", "reward", "kl", "clip", "updates", "source", "device_batch_size"} <= names


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": 1}, r"samples \(1\) must be at least 2"),
        ({"examples": 0}, r"examples \(0\) must be at least 1"),
        ({"temperature": 0.0}, "the same answer every time"),
        ({"temperature": -1.0}, "temperature"),
        ({"kl": -0.1}, r"kl \(-0.1\) must be 0 or more"),
        ({"clip": 0.2}, "clip does nothing to a single update"),
        ({"clip": 1.0, "updates": 2}, r"clip \(1.0\) must be below 1"),
        ({"task": " ,"}, "task names nothing"),
        ({"reward": "exactly"}, "there is no reward 'exactly'"),
        ({"warmdown": 2.0}, "warmdown"),
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        RlConfig(**changes)


def test_rewards_are_named_with_weights() -> None:
    assert parse_rewards("exact") == (RewardPart("exact"),)
    assert parse_rewards("exact, format:0.1,length:-2") == (
        RewardPart("exact"),
        RewardPart("format", 0.1),
        RewardPart("length", -2.0),
    )
    assert parse_rewards("~/mine.py,a/b.py:0.5,b.py:own,b.py:other:2") == (
        RewardPart("~/mine.py", 1.0, "reward"),
        RewardPart("a/b.py", 0.5, "reward"),
        RewardPart("b.py", 1.0, "own"),
        RewardPart("b.py", 2.0, "other"),
    )
    assert parse_rewards("~/mine.py")[0].path == Path.home() / "mine.py"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names nothing"),
        ("exact:much", "does not understand 'exact:much'"),
        ("exact:1:2", "does not understand"),
        ("mine.py:two words", "does not understand"),
        ("exact,exact:2", "names exact twice"),
        ("exact:nan", "does not understand"),
    ],
)
def test_rewards_that_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_rewards(text)
