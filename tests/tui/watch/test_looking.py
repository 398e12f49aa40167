"""Zoom and cursor as values: what is shown stays within the run, and the cursor within what is shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.tui.watch.looking import SMOOTHINGS, Look


def test_without_a_cursor_the_window_goes_with_the_end() -> None:
    look = Look().zoomed(True, 200).zoomed(True, 200)
    assert look.window(200) == (150, 200)
    assert look.window(300) == (250, 300)
    assert look.zoomed(False, 300).zoomed(False, 300).window(300) == (100, 300)
    assert look.zoomed(False, 200).zoomed(False, 200) == Look()


def test_a_cursor_holds_the_window() -> None:
    look = Look(cursor=50.0).zoomed(True, 200)
    assert look.window(200) == (25, 125)
    assert look.window(300) == (25, 125)
    assert look.pointing(None).window(300) == (200, 300)
    assert look.whole().window(300) == (0, 300)


def test_the_cursor_moves_by_hundredths_of_what_is_shown() -> None:
    look = Look().moved(-10, 200, 200)
    assert look.cursor == 180
    assert look.zoomed(True, 200).moved(-1, 200, 200).cursor == 179
    assert Look().moved(-1, 200, 150).cursor == 148, "it sets out from the end of the watched run"
    assert look.moved(90, 200, 200).cursor == 200


def test_there_is_a_closest_look() -> None:
    look = Look()
    for _ in range(30):
        look = look.zoomed(True, 1000)
    assert look.span == pytest.approx(1000 / 2**9)


def test_smoothing_goes_round() -> None:
    look = Look()
    seen = [look.smoothing, look.smoother().smoothing, look.smoother().smoother().smoothing]
    assert tuple(seen) == SMOOTHINGS
    assert look.smoother().smoother().smoother() == look


@given(
    keys=st.lists(st.sampled_from(["closer", "away", "left", "right", "far", "off", "all"]), max_size=30),
    end=st.floats(1, 1e9),
)
def test_nothing_outside_of_the_run_is_shown(keys: list[str], end: float) -> None:
    look = Look()
    for key in keys:
        if key in ("closer", "away"):
            look = look.zoomed(key == "closer", end)
        elif key in ("left", "right", "far"):
            look = look.moved({"left": -1, "right": 1, "far": -10}[key], end, end)
        else:
            look = look.pointing(None) if key == "off" else look.whole()
        low, high = look.window(end)
        assert 0 <= low < high <= end * (1 + 1e-9)
        if look.cursor is not None and key in ("left", "right", "far", "closer"):
            assert low - 1e-6 * end <= look.cursor <= high + 1e-6 * end
