"""Of many endings the one to tell."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from nanochat.runtime.launch.ending import GO_ON, Ending, judge, killed, read_ending, write_ending

DONE = Ending(rank=0, time=9.0)
SAVED = Ending(exit_code=75, message="stopped", rank=0, time=2.0)
ERROR = Ending(exit_code=5, message="diverged", rank=1, time=3.0)
BUG = Ending(exit_code=1, message="ValueError: x", trace="Traceback", rank=2, time=3.5)
BEREFT = Ending(exit_code=1, message="broke", bereft=True, rank=0, time=2.5)
TOLD_TO_STOP = Ending(exit_code=143, rank=3, time=2.6)
DEAD = killed(1, -9, 2.9)


@pytest.mark.parametrize(
    ("endings", "first"),
    [
        ([DONE], Ending()),
        ([SAVED, DONE], SAVED),
        ([ERROR, BUG], ERROR),
        ([ERROR, SAVED, DONE], ERROR),
        ([DEAD, BEREFT], DEAD),  # the connection breaks before anyone sees the death
        ([DEAD, BEREFT, TOLD_TO_STOP, ERROR], DEAD),
        ([BEREFT, TOLD_TO_STOP], BEREFT),  # on another machine than the culprit's
        ([TOLD_TO_STOP, SAVED], TOLD_TO_STOP),
        ([killed(None, -9, 4.0), BEREFT], killed(None, -9, 4.0)),
    ],
)
def test_the_first_that_no_other_explains(endings: list[Ending], first: Ending) -> None:
    for seed in range(5):
        random.Random(seed).shuffle(endings)
        told = judge(endings)
        assert (told.exit_code, told.message, told.rank) == (first.exit_code, first.message, first.rank)


def test_words_for_those_that_left_none() -> None:
    assert DEAD.message == "rank 1 was killed by SIGKILL (out of memory?)"
    assert killed(3, -11, 0.0).message == "rank 3 was killed by SIGSEGV"
    assert killed(None, -15, 0.0).message == "torchrun was killed by SIGTERM"
    assert killed(0, 7, 0.0).message == "rank 0 ended with exit code 7 and without a word"
    assert killed(0, None, 0.0).message == "rank 0 ended without a word"
    assert DEAD.hint == GO_ON
    assert DEAD.exit_code == 1


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_ending(tmp_path, 2) is None
    write_ending(tmp_path, BUG)
    assert read_ending(tmp_path, 2) == BUG
    assert [file.name for file in tmp_path.iterdir()] == ["rank2.json"]
