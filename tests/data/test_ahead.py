"""Work ahead of its use: the same items in the same order, errors in their place, and no thread left over."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.data.ahead import Ahead


@given(st.integers(0, 30), st.integers(1, 9))
def test_the_items_in_order(count: int, depth: int) -> None:
    assert list(Ahead(iter(range(count)), depth)) == list(range(count))


def test_an_error_comes_where_its_item_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("disk gone")

    ahead = Ahead(items(), depth=5)
    assert [next(ahead), next(ahead), next(ahead)] == [0, 1, 2]
    with pytest.raises(OSError, match="disk gone"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)


def test_no_further_ahead_than_asked() -> None:
    made: list[int] = []
    ahead = Ahead((made.append(number) or number for number in range(100)), depth=3)
    assert made == []
    for number in range(5):
        assert next(ahead) == number
        assert len(made) <= number + 1 + 3
    deadline = time.monotonic() + 10
    while len(made) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == list(range(8))


def test_items_are_made_while_the_last_one_is_used() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    ahead = Ahead(items(), depth=1)
    assert next(ahead) == 0
    assert made.wait(10)
    assert next(ahead) == 1


def test_letting_go_waits_for_nothing() -> None:
    """Whatever thread the collector runs on, with whatever locks: one that waited there for ours could wait forever."""
    at_work, go_on = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        at_work.set()
        go_on.wait(20)
        yield 1

    before = set(threading.enumerate())
    ahead = Ahead(items(), depth=1)
    ring: list[object] = [ahead]
    ring.append(ring)
    assert next(ahead) == 0
    assert at_work.wait(10)
    (ours,) = set(threading.enumerate()) - before
    del ahead, ring
    gc.collect()
    assert ours.is_alive()  # we were not made to wait for it
    go_on.set()
    ours.join(10)
    assert not ours.is_alive()
